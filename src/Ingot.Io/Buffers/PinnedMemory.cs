using System.Buffers;
using System.Runtime.InteropServices;
using Ingot.Linux;

namespace Ingot.Io;

/// <summary>Holds managed memory of a program in place for one request, as a vector. Reused by its owner, so that a request allocates nothing.</summary>
public sealed unsafe class PinnedMemory : IDisposable
{
    private MemoryHandle[] _handles = new MemoryHandle[1];
    private Libc.iovec* _entries;
    private int _entryCapacity;
    private int _count;

    /// <summary>Frees what the owner forgot.</summary>
    ~PinnedMemory() => NativeMemory.Free(_entries);

    /// <summary>Pins one range.</summary>
    /// <param name="memory">The range.</param>
    /// <returns>The vector, valid until <see cref="Unpin"/>.</returns>
    public IoVector Pin(ReadOnlyMemory<byte> memory)
    {
        _handles[0] = memory.Pin();
        _count = 1;
        return new IoVector(_handles[0].Pointer, memory.Length);
    }

    /// <summary>Pins several ranges.</summary>
    /// <param name="memories">The ranges.</param>
    /// <returns>The vector, valid until <see cref="Unpin"/>.</returns>
    public IoVector Pin(IReadOnlyList<ReadOnlyMemory<byte>> memories)
    {
        Reserve(memories.Count);
        long length = 0;
        for (int i = 0; i < memories.Count; i++)
        {
            Add(memories[i], ref length);
        }

        return Vector(length);
    }

    /// <summary>Pins several ranges.</summary>
    /// <param name="memories">The ranges.</param>
    /// <returns>The vector, valid until <see cref="Unpin"/>.</returns>
    public IoVector Pin(IReadOnlyList<Memory<byte>> memories)
    {
        Reserve(memories.Count);
        long length = 0;
        for (int i = 0; i < memories.Count; i++)
        {
            Add(memories[i], ref length);
        }

        return Vector(length);
    }

    /// <summary>Lets the memory go.</summary>
    public void Unpin()
    {
        for (int i = 0; i < _count; i++)
        {
            _handles[i].Dispose();
            _handles[i] = default;
        }

        _count = 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Unpin();
        NativeMemory.Free(_entries);
        _entries = null;
        GC.SuppressFinalize(this);
    }

    private void Reserve(int count)
    {
        if (_handles.Length < count)
        {
            _handles = new MemoryHandle[count];
        }

        if (_entryCapacity < count)
        {
            _entries = (Libc.iovec*)NativeMemory.Realloc(_entries, (nuint)count * (nuint)sizeof(Libc.iovec));
            _entryCapacity = count;
        }
    }

    private void Add(ReadOnlyMemory<byte> memory, ref long length)
    {
        if (memory.IsEmpty)
        {
            return;
        }

        // SAFETY: Reserve made room for all ranges; the handle keeps the bytes in place until Unpin.
        _handles[_count] = memory.Pin();
        _entries[_count] = new Libc.iovec { iov_base = _handles[_count].Pointer, iov_len = (nuint)memory.Length };
        length += memory.Length;
        _count++;
    }

    private IoVector Vector(long length) => _count == 0 ? default : new IoVector(_entries, _count, length);
}
