using Ingot.Block;
using Ingot.Drivers.Filters;
using Ingot.Io;

namespace Ingot.Drivers.CopyOnRead;

/// <summary>
/// See <see cref="CopyOnReadDriver"/>. Copies are made in the units in which the image allocates. Ranges are locked, so that a copy never writes back what
/// another request has just changed.
/// </summary>
/// <param name="nodeName">The node name, or null.</param>
/// <param name="file">The image.</param>
/// <param name="writable">Whether writing by others is wanted.</param>
/// <param name="bottom">The last node of the backing chain that is copied from; null for the whole chain.</param>
internal sealed class CopyOnReadNode(string? nodeName, ChildNode file, bool writable, BlockNode? bottom) : FilterNode(nodeName, file, writable)
{
    private const int MaxCopy = 1 << 20;

    private readonly RangeLock _ranges = new();
    private readonly int _unit = file.Node.Limits is { AllocationUnit: > 0 } limits ? limits.AllocationUnit : Math.Max(file.Node.Limits.OptimalTransfer, 1);
    private readonly IEventSink? _events = file.Node as IEventSink;

    public override string DriverName => IsPartOfImage ? Child.DriverName : "copy-on-read";

    public override string FileName => IsPartOfImage ? Child.FileName : base.FileName;

    /// <summary>True when this is how an image was opened, rather than a node of its own.</summary>
    internal bool IsPartOfImage { get; init; }

    public override IoTask<ImageInfo> GetInfoAsync() => IsPartOfImage ? Child.GetInfoAsync() : base.GetInfoAsync();

    protected override async IoTask ReadCore(long offset, IoVector data)
    {
        if (data.Length == 0)
        {
            return;
        }

        long start = offset / _unit * _unit;
        using RangeLock.Held held = await _ranges.LockAsync(start, AlignUp(offset + data.Length) - start);
        for (long done = 0; done < data.Length;)
        {
            (bool copies, long length) = await ClassifyAsync(offset + done, data.Length - done);
            if (!copies)
            {
                await Child.ReadAsync(offset + done, data.Slice(done, length));
                done += length;
            }
            else
            {
                done += await CopyAsync(offset + done, length, data.Slice(done));
            }
        }
    }

    protected override async IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        using RangeLock.Held held = await _ranges.LockAsync(offset, data.Length);
        await Child.WriteAsync(offset, data, flags);
    }

    protected override async IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        using RangeLock.Held held = await _ranges.LockAsync(offset, length);
        await Child.WriteZeroesAsync(offset, length, flags);
    }

    protected override async IoTask DiscardCore(long offset, long length)
    {
        using RangeLock.Held held = await _ranges.LockAsync(offset, length);
        await Child.DiscardAsync(offset, length);
    }

    private long AlignUp(long offset) => (offset + _unit - 1) / _unit * _unit;

    // Whether a range comes from where it is to be copied from, and how far that holds.
    private async IoTask<(bool Copies, long Length)> ClassifyAsync(long offset, long length)
    {
        Extent extent = await Child.GetExtentAsync(offset, length);
        length = Math.Min(extent.Length, length);
        if (extent.IsAllocated || extent.IsData)
        {
            return (false, length);
        }

        if (bottom is null)
        {
            return (true, length);
        }

        for (BlockNode? node = Child.Backing; node is not null && offset < node.Length; node = node == bottom ? null : node.Backing)
        {
            extent = await node.GetExtentAsync(offset, Math.Min(length, node.Length - offset));
            length = Math.Min(length, extent.Length);
            if (extent.IsAllocated || extent.IsData)
            {
                return (true, length);
            }
        }

        return (false, length);
    }

    private async IoTask<long> CopyAsync(long offset, long length, IoVector data)
    {
        long start = offset / _unit * _unit;
        int span = (int)(Math.Min(Math.Min(AlignUp(offset + length), start + Math.Max(MaxCopy, _unit)), Child.Length) - start);
        IoBuffer copy = BufferPool.Local.Rent(span);
        try
        {
            IoVector bytes = copy.Slice(0, span);
            await Child.ReadAsync(start, bytes);
            _events?.Signal(BlockEvents.WriteReadCopy);
            await (bytes.IsZero() ? Child.WriteZeroesAsync(start, span) : Child.WriteAsync(start, bytes));
            int skip = (int)(offset - start);
            long count = Math.Min(span - skip, data.Length);
            data.Slice(0, count).CopyFrom(bytes.Slice(skip, count));
            return count;
        }
        finally
        {
            BufferPool.Local.Return(copy);
        }
    }
}
