using Ingot.Linux;

namespace Ingot.Io;

/// <summary>A large range of zeroed memory that takes up only what was touched. Any thread; who overlaps whom is the users' business, as on a disk.</summary>
public sealed unsafe class AnonymousMemory : IDisposable
{
    private byte* _memory;

    /// <summary>Reserves the range.</summary>
    /// <param name="length">Bytes; 0 is allowed.</param>
    /// <exception cref="ErrnoException">There is no room in the address space.</exception>
    public AnonymousMemory(long length)
    {
        Length = length;
        void* address = Libc.mmap(null, (nuint)Math.Max(length, 1), Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE, -1, 0);
        _memory = (nint)address != -1 ? (byte*)address : throw ErrnoException.ForLastError($"Could not reserve {length} bytes of memory");
    }

    /// <summary>Bytes.</summary>
    public long Length { get; }

    /// <summary>A part of the range.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The part as a vector.</returns>
    public IoVector Slice(long offset, long length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)offset, (ulong)Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)length, (ulong)(Length - offset));
        return new IoVector(_memory + offset, length);
    }

    /// <summary>Zeroes a part and gives its whole pages back.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    public void Release(long offset, long length)
    {
        const long Page = 4096;
        IoVector range = Slice(offset, length);
        long first = (offset + Page - 1) / Page * Page;
        long end = (offset + length) / Page * Page;
        if (end <= first)
        {
            range.Clear();
            return;
        }

        // SAFETY: [first, end) lies within the mapping, which this object owns.
        _ = Libc.madvise(_memory + first, (nuint)(end - first), Libc.MADV_DONTNEED);
        range.Slice(0, first - offset).Clear();
        range.Slice(end - offset).Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_memory != null)
        {
            _ = Libc.munmap(_memory, (nuint)Math.Max(Length, 1));
            _memory = null;
        }
    }
}
