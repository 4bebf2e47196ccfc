using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>Moves the L1 table to where a larger one has room.</summary>
internal static class L1Growth
{
    /// <summary>Moves the table; the header names the new one, and the old one is free, once it is written.</summary>
    /// <param name="image">The image.</param>
    /// <param name="entries">How many entries the table is to have.</param>
    /// <param name="length">The size of the disk from then on.</param>
    internal static async IoTask GrowAsync(Qcow2Image image, int entries, long length)
    {
        Qcow2Geometry geometry = image.Geometry;
        image.File.Signal(BlockEvents.AllocateL1);
        ClusterRun run = await image.Allocator.AllocateAsync(geometry.ClustersFor(entries * 8L), "L1 table");
        PagedTable old = image.Map.L1;
        image.Map.L1 = old.Moved(run.First << geometry.ClusterBits, entries);
        if (old.Count > 0)
        {
            image.Tables.Free(geometry.ClusterOf(old.Offset), geometry.ClustersFor(old.Count * 8L), discard: false);
        }

        image.Header.ChangeMap(image.Map.L1.Offset, entries, length);
    }
}
