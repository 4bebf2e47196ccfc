using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Jobs;

/// <summary>
/// Makes an overlay independent of its old backing chain where the new one differs: what it does not store itself is compared in both, and stored where
/// they differ. Its content is the same at every moment, so nothing is lost when it is interrupted. What both are known to have as zeroes, or in the same
/// place of the same file, is not read.
/// </summary>
/// <param name="overlay">The image.</param>
/// <param name="oldBacking">What it is backed by now; null for nothing.</param>
/// <param name="newBacking">What it will be backed by; null for nothing. May be a node of the old chain.</param>
/// <param name="compress">Whether to store compressed.</param>
public sealed class RebaseJob(BlockNode overlay, BlockNode? oldBacking, BlockNode? newBacking, bool compress)
{
    private const int ChunkLength = 512 << 10;

    private readonly int _unit = Math.Max(overlay.Limits is { AllocationUnit: > 0 and var unit } && !compress ? unit : overlay.Limits.OptimalTransfer, 512);
    private readonly bool _isInChain = IsInChain(oldBacking, newBacking);

    /// <summary>Called with the bytes done so far.</summary>
    public Action<long>? Progress { get; set; }

    /// <summary>Runs; flushes nothing.</summary>
    /// <returns>The task.</returns>
    public async IoTask RunAsync()
    {
        int length = Math.Max(ChunkLength, _unit);
        using var oldBuffer = new IoBuffer(length);
        using var newBuffer = new IoBuffer(length);
        for (long offset = 0; offset < overlay.Length;)
        {
            (bool isOwn, long end) = await OwnAsync(offset);
            if (!isOwn)
            {
                await RebaseAsync(offset, end, oldBuffer, newBuffer);
            }

            offset = end;
            Progress?.Invoke(offset);
        }
    }

    // Whether the overlay stores a range itself. What it does not store may be told in pieces, because its backing file ends within.
    private async IoTask<(bool IsOwn, long End)> OwnAsync(long offset)
    {
        long end = offset;
        bool isOwn = false;
        while (end < overlay.Length)
        {
            Extent extent = await Named(overlay.GetExtentAsync(end, overlay.Length - end));
            bool isNext = extent.IsAllocated || extent.IsData;
            if (end > offset && isNext != isOwn)
            {
                break;
            }

            isOwn = isNext;
            end = extent.End;
        }

        return (isOwn, end);
    }

    // Whether a node is another one or lies below it.
    private static bool IsInChain(BlockNode? top, BlockNode? node)
    {
        while (top is not null && top != node)
        {
            top = top.Backing;
        }

        return top is not null;
    }

    private static async IoTask<Extent> Named(IoTask<Extent> task)
    {
        try
        {
            return await task;
        }
        catch (ErrnoException e)
        {
            throw ErrnoException.For(e.Errno, "error while reading image metadata");
        }
    }

    // A range that the overlay does not store. Pieces begin and end at its units, or where it stores something.
    private async IoTask RebaseAsync(long start, long end, IoBuffer oldBuffer, IoBuffer newBuffer)
    {
        while (start < end)
        {
            (bool isSame, long found) = await SameAsync(start, end - start);
            long whole = start + found == end ? end : (start + found) / _unit * _unit;
            if (isSame && whole > start)
            {
                start = whole;
                Progress?.Invoke(start);
                continue;
            }

            // Some of a unit is the same and some is not, or nobody knows: look at the content.
            long wanted = isSame ? start + 1 : Math.Min(start + found, start + oldBuffer.Length - _unit + 1);
            long stop = Math.Min((wanted + _unit - 1) / _unit * _unit, end);
            await CompareAsync(start, oldBuffer.Slice(0, (int)(stop - start)), newBuffer.Slice(0, (int)(stop - start)));
            start = stop;
            Progress?.Invoke(start);
        }
    }

    // Whether both certainly read the same, and for how long that statement holds.
    private async IoTask<(bool IsSame, long Length)> SameAsync(long offset, long length)
    {
        if (_isInChain && oldBacking == newBacking)
        {
            return (true, length);
        }

        if (_isInChain && newBacking is not null && offset < oldBacking!.Length)
        {
            Extent above = await Named(ExtentWalker.GetExtentAboveAsync(oldBacking, newBacking, offset, Math.Min(length, oldBacking.Length - offset)));
            if (above.Flags == ExtentFlags.None)
            {
                return (true, above.Length);
            }

            length = above.Length;
        }

        Extent a = await ExtentAsync(oldBacking, offset, length);
        Extent b = await ExtentAsync(newBacking, offset, length);
        return ((a.IsZero && b.IsZero) || IsSamePlace(a, b), Math.Min(a.Length, b.Length));
    }

    private static async IoTask<Extent> ExtentAsync(BlockNode? node, long offset, long length)
        => node is null || offset >= node.Length
            ? new Extent(offset, length, ExtentFlags.Zero)
            : await Named(ChainExtentAsync(node, offset, Math.Min(length, node.Length - offset)));

    private static async IoTask<Extent> ChainExtentAsync(BlockNode node, long offset, long length)
        => (await ExtentWalker.GetChainExtentAsync(node, offset, length)).Extent;

    // Two chains often end in the same file, opened twice.
    private static bool IsSamePlace(Extent a, Extent b)
    {
        const ExtentFlags InPlace = ExtentFlags.Data | ExtentFlags.OffsetValid;
        return (a.Flags & InPlace) == InPlace && (b.Flags & InPlace) == InPlace && a.HostOffset == b.HostOffset
            && a.HostNode is { DriverName: "file", FileName.Length: > 0 } first && b.HostNode is { DriverName: "file" } second
            && NativeText.FullPath(first.FileName) == NativeText.FullPath(second.FileName);
    }

    private async IoTask CompareAsync(long offset, IoVector oldData, IoVector newData)
    {
        IoTask reading = ReadAsync(oldBacking, "old", offset, oldData);
        Errno status = await ReadAsync(newBacking, "new", offset, newData).Status();
        await reading;
        if (status != Errno.None)
        {
            throw ErrnoException.For(status, "error while reading from new backing file");
        }

        for (int at = 0; at < oldData.Length;)
        {
            int run = RunLength(oldData, newData, offset, at, out bool differs);
            if (differs)
            {
                await StoreAsync(offset + at, oldData.Slice(at, run));
            }

            at += run;
        }
    }

    // Units from a position on that are all the same in both, or all different.
    private int RunLength(IoVector oldData, IoVector newData, long offset, int at, out bool differs)
    {
        ReadOnlySpan<byte> a = oldData.SingleSpan;
        ReadOnlySpan<byte> b = newData.SingleSpan;
        int end = UnitEnd(offset, at, a.Length);
        differs = !a[at..end].SequenceEqual(b[at..end]);
        while (end < a.Length)
        {
            int next = UnitEnd(offset, end, a.Length);
            if (a[end..next].SequenceEqual(b[end..next]) == differs)
            {
                break;
            }

            end = next;
        }

        return end - at;
    }

    private int UnitEnd(long offset, int at, int length) => (int)Math.Min((((offset + at) / _unit) + 1) * _unit - offset, length);

    private async IoTask StoreAsync(long offset, IoVector data)
    {
        // Parts of clusters can't be compressed. What lies behind the end of the old backing file is stored as zeroes; zeroes of the file itself are data.
        bool isWhole = offset % _unit == 0 && (data.Length % _unit == 0 || offset + data.Length == overlay.Length);
        try
        {
            bool asZeroes = isWhole && (overlay.Features & BlockFeatures.FastZero) != 0 && offset >= (oldBacking?.Length ?? 0);
            await (!asZeroes
                ? overlay.WriteAsync(offset, data, compress && isWhole ? WriteFlags.Compressed : WriteFlags.None)
                : overlay.WriteZeroesAsync(offset, data.Length));
        }
        catch (ErrnoException e)
        {
            throw ErrnoException.For(e.Errno, "Error while writing to COW image");
        }
    }

    private static async IoTask ReadAsync(BlockNode? node, string which, long offset, IoVector data)
    {
        long stored = Math.Clamp((node?.Length ?? 0) - offset, 0, data.Length);
        data.Slice(stored).Clear();
        if (stored == 0)
        {
            return;
        }

        try
        {
            await node!.ReadAsync(offset, data.Slice(0, stored));
        }
        catch (ErrnoException e)
        {
            throw ErrnoException.For(e.Errno, $"error while reading from {which} backing file");
        }
    }
}
