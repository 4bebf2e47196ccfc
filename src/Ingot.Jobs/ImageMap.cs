using Ingot.Block;
using Ingot.Io;

namespace Ingot.Jobs;

/// <summary>Lists what an image and its backing chain hold, with neighbours of the same kind as one entry.</summary>
/// <param name="node">The image.</param>
/// <param name="start">First byte.</param>
/// <param name="end">First byte after the range.</param>
public sealed class ImageMap(BlockNode node, long start, long end)
{
    private long _offset = start;
    private ChainExtent? _pending;

    /// <summary>The image.</summary>
    public BlockNode Node => node;

    /// <summary>The next entry.</summary>
    /// <returns>The entry, or null at the end.</returns>
    public async IoTask<ChainExtent?> NextAsync()
    {
        while (_offset < end)
        {
            ChainExtent next = await ExtentWalker.GetChainExtentAsync(node, _offset, end - _offset);
            _offset += next.Extent.Length;
            if (_pending is not { } pending)
            {
                _pending = next;
            }
            else if (IsContinuation(pending, next))
            {
                _pending = pending with { Extent = pending.Extent with { Length = pending.Extent.Length + next.Extent.Length } };
            }
            else
            {
                _pending = next;
                return pending;
            }
        }

        ChainExtent? last = _pending;
        _pending = null;
        return last;
    }

    private static bool IsContinuation(ChainExtent a, ChainExtent b)
        => a.Extent.Flags == b.Extent.Flags
            && a.Depth == b.Depth
            && ((a.Extent.Flags & ExtentFlags.OffsetValid) == 0
                || (a.Extent.HostNode == b.Extent.HostNode && a.Extent.HostOffset + a.Extent.Length == b.Extent.HostOffset));
}
