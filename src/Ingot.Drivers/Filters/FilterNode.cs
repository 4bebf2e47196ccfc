using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Filters;

/// <summary>A node that stores nothing itself: what it does not change goes straight to the node below, also the question what is behind it.</summary>
/// <param name="name">Its node name, or null.</param>
/// <param name="file">The node below.</param>
/// <param name="writable">Whether writing is wanted.</param>
internal abstract class FilterNode(string? name, ChildNode file, bool writable) : BlockNode(name)
{
    private bool _closed;

    public override long Length => Child.Length;

    public override BlockLimits Limits => Child.Limits;

    // Filters have state that belongs to one loop.
    public override BlockFeatures Features => Child.Features & ~(BlockFeatures.AnyLoop | BlockFeatures.CopyRange) & (writable ? ~BlockFeatures.None : ~BlockFeatures.Write);

    public override IEnumerable<(string Role, BlockNode Node)> Children => [("file", Child)];

    public override BlockNode File => Child;

    public override BlockNode? Backing => Child.Backing;

    public override string FileName => JsonName.Of(("driver", JsonText.Quote(DriverName)), ("file", JsonText.Describe(Child)));

    /// <summary>The node below.</summary>
    protected BlockNode Child => file.Node;

    public override async IoTask<ImageInfo> GetInfoAsync()
    {
        ImageInfo below = await Child.GetInfoAsync();
        return new ImageInfo { ClusterSize = below.ClusterSize, VmStateOffset = below.VmStateOffset, IsDirty = below.IsDirty };
    }

    public override IoTask ReadVmStateAsync(long offset, IoVector data) => Child.ReadVmStateAsync(offset, data);

    public override IoTask WriteVmStateAsync(long offset, IoVector data) => Child.WriteVmStateAsync(offset, data);

    public sealed override async IoTask CloseAsync()
    {
        if (!_closed)
        {
            _closed = true;
            try
            {
                await FinishAsync();
            }
            finally
            {
                await file.CloseAsync();
            }
        }
    }

    /// <summary>What is to be done before the node below is closed.</summary>
    protected virtual IoTask FinishAsync() => IoTask.Completed;

    protected override IoTask ReadCore(long offset, IoVector data) => Child.ReadAsync(offset, data);

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags) => Child.WriteAsync(offset, data, flags);

    protected override IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags) => Child.WriteZeroesAsync(offset, length, flags);

    protected override IoTask DiscardCore(long offset, long length) => Child.DiscardAsync(offset, length);

    protected override IoTask FlushCore() => Child.FlushAsync();

    protected override IoTask<Extent> GetExtentCore(long offset, long length) => Child.GetExtentAsync(offset, length);

    protected override IoTask ResizeCore(long length, Preallocation preallocation) => Child.ResizeAsync(length, preallocation);
}
