using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Virtio.Memory;

/// <summary>The bitmap of pages that we wrote, shared with a front-end that migrates its guest.</summary>
/// <param name="mapping">The bitmap; owned from here on.</param>
public sealed unsafe class DirtyLog(SharedMapping mapping)
{
    private const int PageShift = 12;
    private const int BitsPerByteShift = 3;

    /// <summary>Whether the bitmap has a bit for every page below an address.</summary>
    /// <param name="end">Guest-physical address.</param>
    /// <returns>True when it has.</returns>
    public bool Covers(ulong end) => end == 0 || ((end - 1) >> (PageShift + BitsPerByteShift)) < (ulong)mapping.Length;

    /// <summary>Marks a range of guest memory.</summary>
    /// <param name="address">Guest-physical address.</param>
    /// <param name="length">Bytes, at least 1.</param>
    public void Mark(ulong address, ulong length)
    {
        if (!Covers(address + length))
        {
            throw new InvalidOperationException("The dirty log is too small; that was checked when it was set.");
        }

        for (ulong page = address >> PageShift; page <= (address + length - 1) >> PageShift; page++)
        {
            // SAFETY: Covers has checked the byte. Whole aligned words, because the front-end clears bits at the same time.
            byte* at = mapping.Pointer + (page >> BitsPerByteShift);
            int shift = ((int)((nint)at & 3) << BitsPerByteShift) + (int)(page & 7);
            Interlocked.Or(ref *(int*)((nint)at & ~3), 1 << shift);
        }
    }

    /// <summary>Marks what a request wrote.</summary>
    /// <param name="memory">The table that the vector's bytes were found in.</param>
    /// <param name="data">The bytes.</param>
    public void Mark(GuestMemory memory, IoVector data)
    {
        foreach (Span<byte> part in data)
        {
            fixed (byte* start = part)
            {
                Mark(memory.GuestAddressOf(start), (ulong)part.Length);
            }
        }
    }

    /// <summary>Unmaps the bitmap.</summary>
    public void Release() => mapping.Release();

    /// <summary>Maps the bitmap of a SET_LOG_BASE.</summary>
    /// <param name="file">The file.</param>
    /// <param name="offset">Where it starts; a multiple of 4.</param>
    /// <param name="size">Bytes.</param>
    /// <returns>The log.</returns>
    public static DirtyLog Map(FileDescriptor file, ulong offset, ulong size)
        => (offset & 3) == 0 ? new DirtyLog(SharedMapping.Map(file, offset, size, "SET_LOG_BASE")) : throw new ErrnoException(Errno.EPROTO, $"SET_LOG_BASE: file offset {offset} is not a multiple of 4");
}
