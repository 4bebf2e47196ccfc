using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Io;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Empties an image by laying it out as a new one: header, refcount table, one refcount block, L1 table, and nothing else. Counts and tables contradict
/// each other meanwhile, so the image is marked dirty; one that is left in the middle has lost what it was to lose, or a part of it, and opening repairs
/// its counts. A failure makes the open image unusable.
/// </summary>
internal static class FreshLayout
{
    private const int LeadingClusters = 3;

    /// <summary>Whether nothing but the content of the disk keeps an image from being laid out anew.</summary>
    internal static bool Fits(Qcow2Image image)
    {
        Qcow2Header header = image.Header.Current;
        bool isPlain = header.Version >= 3 && header.SnapshotCount == 0 && !header.HasBitmaps && !image.Geometry.HasDataFile
            && header.Extensions.All(e => e.Type is ExtensionBackingFormat or ExtensionFeatureNames);
        return isPlain && (image.File.Node.Features & BlockFeatures.Resize) != 0
            && LeadingClusters + L1Clusters(image) <= 1L << image.Geometry.RefcountBlockBits;
    }

    /// <summary>Lays the image out. No other request may be in flight.</summary>
    internal static async IoTask ApplyAsync(Qcow2Image image)
    {
        await image.Tables.WriteAllAsync();
        Qcow2Header header = image.Header.Current;
        await image.Header.ChangeFeaturesAsync(header.Incompatible | IncompatibleFeatures.Dirty, header.Compatible, header.Autoclear);
        try
        {
            await WriteAsync(image);
        }
        catch
        {
            image.Corruption.Abandon();
            throw;
        }

        if (!image.Tables.IsMarkedDirty)
        {
            await image.Header.ChangeFeaturesAsync(header.Incompatible & ~IncompatibleFeatures.Dirty, header.Compatible, header.Autoclear);
        }

        await image.File.ResizeAsync(End(image));
        await image.File.FlushAsync();
    }

    private static async IoTask WriteAsync(Qcow2Image image)
    {
        HostFile file = image.File;
        int cluster = image.Geometry.ClusterLength;
        int l1Entries = image.Map.L1.Count;
        image.Map.Tables.Clear();
        image.Refcounts.Blocks.Clear();

        // Once it is durable that nothing names what lies in the places of the new tables, they may be overwritten.
        file.Signal(BlockEvents.UpdateL1);
        await file.WriteZeroesAsync(image.Map.L1.Offset, L1Clusters(image) * cluster);
        await file.FlushAsync();
        file.Signal(BlockEvents.EmptyImage);
        await file.WriteZeroesAsync(cluster, End(image) - cluster);
        await file.FlushAsync();
        file.Signal(BlockEvents.UpdateL1);
        file.Signal(BlockEvents.UpdateRefcountTable);
        await image.Header.ChangeTablesAsync(LeadingClusters * cluster, cluster, 1);
        await WriteCountsAsync(image);
        image.Map.L1 = await PagedTable.ReadAsync(file, LeadingClusters * cluster, l1Entries);
        image.Refcounts.Table = await PagedTable.ReadAsync(file, cluster, cluster / 8);
        image.Allocator.Reset();
    }

    private static async IoTask WriteCountsAsync(Qcow2Image image)
    {
        int cluster = image.Geometry.ClusterLength;
        var block = new byte[cluster];
        for (int i = 0; i < End(image) / cluster; i++)
        {
            RefcountTable.WriteCount(block, i, image.Geometry.RefcountOrder, 1);
        }

        var entry = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(entry, 2UL * (ulong)cluster);
        image.File.Signal(BlockEvents.FindRefcounts);
        await image.File.WriteBytesAsync(2L * cluster, block);
        await image.File.FlushAsync();
        await image.File.WriteBytesAsync(cluster, entry);
        await image.File.FlushAsync();
    }

    private static long L1Clusters(Qcow2Image image) => image.Geometry.ClustersFor(image.Map.L1.Count * 8L);

    private static long End(Qcow2Image image) => (LeadingClusters + L1Clusters(image)) << image.Geometry.ClusterBits;
}
