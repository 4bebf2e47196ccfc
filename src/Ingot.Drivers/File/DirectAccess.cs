using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.File;

/// <summary>
/// O_DIRECT for callers that do not care about its rules: requests that are aligned go straight through, others through a bounce buffer, and writes of parts of
/// blocks as read, modify, write.
/// </summary>
internal sealed class DirectAccess
{
    private const int Sector = 512;
    private const int FallbackAlignment = 4096;
    private const int MaxBounce = 1 << 20;

    private readonly FileNode _node;
    private readonly RangeLock _locks = new();
    private readonly int _alignment;
    private readonly int _memoryAlignment;

    internal DirectAccess(FileNode node, FileDescriptor fd, bool isDevice)
    {
        _node = node;
        (_memoryAlignment, _alignment) = Libc.TryDirectAlignment(fd.Value)
            ?? (FallbackAlignment, isDevice ? BlockDeviceControl.LogicalSectorSize(fd) : FallbackAlignment);
        _alignment = Math.Max(_alignment, Sector);
        Limits = new BlockLimits { RequestAlignment = _alignment, MemoryAlignment = _memoryAlignment };
    }

    internal BlockLimits Limits { get; }

    /// <summary>
    /// With blocks larger than the sectors that disks are written in, a guest's sector writes are part-block writes: then every write takes a lock, on one loop.
    /// With 512-byte blocks only bytes of metadata come in parts, and those belong to one writer.
    /// </summary>
    internal bool NeedsLocks => _alignment > Sector;

    internal bool Accepts(long offset, IoVector data) => ((offset | data.Length) & (_alignment - 1)) == 0 && data.IsAligned(_memoryAlignment);

    internal bool AcceptsWrite(long offset, IoVector data) => !NeedsLocks && Accepts(offset, data);

    /// <summary>Keeps part-block writes out of a range: they would write back what it held before.</summary>
    internal IoTask<RangeLock.Held> LockAsync(long offset, long length) => _locks.LockAsync(offset, length);

    internal async IoTask ReadAsync(long offset, IoVector data)
    {
        while (data.Length > 0)
        {
            (long start, int span, int skip, int count) = NextPiece(offset, data.Length);
            IoBuffer bounce = BufferPool.Local.Rent(span);
            try
            {
                await _node.ReadPlainAsync(start, bounce.Slice(0, span));
                data.CopyFrom(bounce.Span.Slice(skip, count));
            }
            finally
            {
                BufferPool.Local.Return(bounce);
            }

            offset += count;
            data = data.Slice(count);
        }
    }

    internal async IoTask WriteAsync(long offset, IoVector data, WriteFlags flags)
    {
        if (Accepts(offset, data))
        {
            using RangeLock.Held held = await _locks.LockAsync(offset, data.Length);
            await _node.WritePlainAsync(offset, data, flags);
            return;
        }

        while (data.Length > 0)
        {
            int count = NextPiece(offset, data.Length).Count;
            await WritePieceAsync(offset, data.Slice(0, count), flags);
            offset += count;
            data = data.Slice(count);
        }
    }

    private async IoTask WritePieceAsync(long offset, IoVector data, WriteFlags flags)
    {
        (long start, int span, int skip, int count) = NextPiece(offset, data.Length);
        using RangeLock.Held held = await _locks.LockAsync(start, span);
        IoBuffer bounce = BufferPool.Local.Rent(span);
        try
        {
            if (skip != 0)
            {
                await _node.ReadPlainAsync(start, bounce.Slice(0, _alignment));
            }

            bool tailIsPart = ((skip + count) & (_alignment - 1)) != 0;
            if (tailIsPart && !(skip != 0 && span == _alignment))
            {
                await _node.ReadPlainAsync(start + span - _alignment, bounce.Slice(span - _alignment, _alignment));
            }

            data.CopyTo(bounce.Span.Slice(skip, count));
            await _node.WritePlainAsync(start, bounce.Slice(0, span), flags);
        }
        finally
        {
            BufferPool.Local.Return(bounce);
        }
    }

    // Whole blocks around as much of the range as one bounce buffer holds.
    private (long Start, int Span, int Skip, int Count) NextPiece(long offset, long length)
    {
        long start = offset & -_alignment;
        int skip = (int)(offset - start);
        int count = (int)Math.Min(length, MaxBounce - skip);
        int span = (skip + count + _alignment - 1) & -_alignment;
        return (start, span, skip, count);
    }
}
