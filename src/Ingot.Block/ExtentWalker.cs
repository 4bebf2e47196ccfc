using Ingot.Io;

namespace Ingot.Block;

/// <summary>An extent of a backing chain: what decides a range, and how deep that decision lies.</summary>
/// <param name="Extent">The statement; <see cref="ExtentFlags.None"/> never comes without <see cref="ExtentFlags.Zero"/>.</param>
/// <param name="Depth">0 for the node asked, 1 for its backing node, and so on.</param>
/// <param name="Node">The node that decided.</param>
public readonly record struct ChainExtent(Extent Extent, int Depth, BlockNode Node);

/// <summary>Follows extents down a backing chain.</summary>
public static class ExtentWalker
{
    /// <summary>What a range of a chain holds: asks the node, and where it has nothing, the node behind it.</summary>
    /// <param name="node">The top of the chain.</param>
    /// <param name="offset">Bytes.</param>
    /// <param name="length">Bytes, at least 1.</param>
    /// <returns>The first extent of the range; may be shorter than asked.</returns>
    public static async IoTask<ChainExtent> GetChainExtentAsync(BlockNode node, long offset, long length)
    {
        for (int depth = 0; ; depth++)
        {
            Extent extent = await node.GetExtentAsync(offset, length);
            if ((extent.Flags & (ExtentFlags.Data | ExtentFlags.Zero | ExtentFlags.Allocated)) != 0)
            {
                return new ChainExtent(extent, depth, node);
            }

            BlockNode? backing = node.Backing;
            if (backing is null || offset >= backing.Length)
            {
                return new ChainExtent(extent with { Flags = ExtentFlags.Zero }, depth, node);
            }

            length = Math.Min(extent.Length, backing.Length - offset);
            node = backing;
        }
    }

    /// <summary>The same for the part of a chain above a node: where nothing above decides and the node reaches, that is <see cref="ExtentFlags.None"/>.</summary>
    /// <param name="node">The top of the chain.</param>
    /// <param name="below">The node whose content does not matter; null for the end of the chain.</param>
    /// <param name="offset">Bytes.</param>
    /// <param name="length">Bytes, at least 1.</param>
    /// <returns>The first extent of the range; may be shorter than asked.</returns>
    public static async IoTask<Extent> GetExtentAboveAsync(BlockNode node, BlockNode? below, long offset, long length)
    {
        while (true)
        {
            Extent extent = await node.GetExtentAsync(offset, length);
            if ((extent.Flags & (ExtentFlags.Data | ExtentFlags.Allocated)) != 0)
            {
                return extent;
            }

            BlockNode? backing = node.Backing;
            if (backing is null || offset >= backing.Length)
            {
                return extent with { Flags = ExtentFlags.Zero };
            }

            length = Math.Min(extent.Length, backing.Length - offset);
            if (backing == below)
            {
                return extent with { Length = length, Flags = ExtentFlags.None };
            }

            node = backing;
        }
    }
}
