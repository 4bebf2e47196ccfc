using System.Buffers.Binary;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>A table of 64-bit entries that is small enough to be in memory whole (L1, refcount table), and remembers which of its parts must be written.</summary>
internal sealed class PagedTable
{
    private const int PageEntries = 64;

    private readonly ulong[] _entries;
    private readonly bool[] _dirty;
    private readonly List<int> _dirtyPages = [];

    private PagedTable(long offset, ulong[] entries)
    {
        Offset = offset;
        _entries = entries;
        _dirty = new bool[(entries.Length + PageEntries - 1) / PageEntries];
    }

    /// <summary>Where the table lies in the file.</summary>
    internal long Offset { get; }

    internal int Count => _entries.Length;

    /// <summary>Told of the old and the new value when an entry changes.</summary>
    internal Action<ulong, ulong>? Changed { get; set; }

    /// <summary>The offsets that entries name.</summary>
    internal IEnumerable<long> Targets => _entries.Select(e => (long)(e & Qcow2Constants.OffsetMask)).Where(t => t != 0);

    internal bool IsDirty => _dirtyPages.Count > 0;

    /// <summary>An entry; changing one marks it for writing.</summary>
    internal ulong this[int index]
    {
        get => _entries[index];
        set
        {
            Changed?.Invoke(_entries[index], value);
            _entries[index] = value;
            MarkDirty(index / PageEntries);
        }
    }

    internal static async IoTask<PagedTable> ReadAsync(HostFile file, long offset, int count)
    {
        const int ChunkEntries = 8192;
        var entries = new ulong[count];
        using var chunk = new IoBuffer(Math.Max(1, Math.Min(count, ChunkEntries) * 8));
        for (int first = 0; first < count; first += ChunkEntries)
        {
            int n = Math.Min(count - first, ChunkEntries);
            await file.ReadAsync(offset + (first * 8L), chunk.Slice(0, n * 8));
            for (int i = 0; i < n; i++)
            {
                entries[first + i] = BinaryPrimitives.ReadUInt64BigEndian(chunk.Span[(i * 8)..]);
            }
        }

        return new PagedTable(offset, entries);
    }

    /// <summary>A copy with another size at another place; all of it must be written.</summary>
    internal PagedTable Moved(long offset, int count)
    {
        var entries = new ulong[count];
        _entries.AsSpan(0, Math.Min(count, _entries.Length)).CopyTo(entries);
        var moved = new PagedTable(offset, entries);
        for (int page = 0; page < moved._dirty.Length; page++)
        {
            moved.MarkDirty(page);
        }

        return moved;
    }

    /// <summary>The whole table as it goes to the file.</summary>
    internal byte[] Encode() => Encode(0, _entries.Length).Bytes;

    /// <summary>Takes the parts that must be written, as they are now.</summary>
    internal List<(long Offset, byte[] Bytes)> TakeDirty()
    {
        _dirtyPages.Sort();
        var parts = new List<(long Offset, byte[] Bytes)>();
        for (int i = 0; i < _dirtyPages.Count;)
        {
            int first = _dirtyPages[i];
            int end = first;
            while (i < _dirtyPages.Count && _dirtyPages[i] == end)
            {
                _dirty[end++] = false;
                i++;
            }

            parts.Add(Encode(first * PageEntries, Math.Min(end * PageEntries, _entries.Length)));
        }

        _dirtyPages.Clear();
        return parts;
    }

    /// <summary>Undoes <see cref="TakeDirty"/> for parts that could not be written.</summary>
    internal void PutBack(List<(long Offset, byte[] Bytes)> parts)
    {
        foreach ((long offset, byte[] bytes) in parts)
        {
            int first = (int)((offset - Offset) / 8 / PageEntries);
            int last = (int)((offset - Offset + bytes.Length - 8) / 8 / PageEntries);
            for (int page = first; page <= last; page++)
            {
                MarkDirty(page);
            }
        }
    }

    private (long Offset, byte[] Bytes) Encode(int first, int end)
    {
        var bytes = new byte[(end - first) * 8];
        for (int i = first; i < end; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan((i - first) * 8), _entries[i]);
        }

        return (Offset + (first * 8L), bytes);
    }

    private void MarkDirty(int page)
    {
        if (!_dirty[page])
        {
            _dirty[page] = true;
            _dirtyPages.Add(page);
        }
    }
}
