using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>How long the file of a new image will be.</summary>
/// <param name="Required">Bytes for the data that is there now.</param>
/// <param name="FullyAllocated">Bytes once every cluster is allocated.</param>
public sealed record Qcow2Size(long Required, long FullyAllocated);

/// <summary>Predicts file lengths for `measure`, by QEMU's formulas: tables are counted as if everything were allocated.</summary>
public static class Qcow2Measure
{
    /// <summary>For a new image of a virtual size.</summary>
    /// <param name="size">The virtual size in bytes.</param>
    /// <param name="options">Creation options; taken.</param>
    /// <returns>The lengths.</returns>
    public static Qcow2Size ForSize(long size, OptionSet options)
    {
        Qcow2CreateOptions create = Qcow2CreateOptions.Take(options);
        bool reserves = create.Preallocation is Preallocation.Full or Preallocation.Falloc;
        size = Align(size, 512);
        return Compute(size, reserves ? Align(size, 1L << create.ClusterBits) : 0, create);
    }

    /// <summary>For a conversion of what a node holds.</summary>
    /// <param name="sourceSize">The node's virtual size.</param>
    /// <param name="nextExtent">Gives the extent at an offset as the guest sees it, backing files included; the second argument is the length asked for.</param>
    /// <param name="options">Creation options of the target; taken.</param>
    /// <returns>The lengths.</returns>
    public static async IoTask<Qcow2Size> ForSourceAsync(long sourceSize, Func<long, long, IoTask<Extent>> nextExtent, OptionSet options)
    {
        Qcow2CreateOptions create = Qcow2CreateOptions.Take(options);
        long cluster = 1L << create.ClusterBits;
        if (create.BackingFile is not null || create.Preallocation is Preallocation.Full or Preallocation.Falloc)
        {
            // How much a backing file would save is not known, so nothing is assumed.
            return Compute(sourceSize, Align(sourceSize, cluster), create);
        }

        long required = 0;
        for (long offset = 0; offset < sourceSize;)
        {
            Extent extent = await nextExtent(offset, sourceSize - offset);
            long length = extent.Length;
            if (extent.IsData && !extent.IsZero)
            {
                length = Align(offset + length, cluster) - offset;
                required += (offset % cluster) + length;
            }

            offset += length;
        }

        return Compute(sourceSize, required, create);
    }

    private static Qcow2Size Compute(long size, long data, Qcow2CreateOptions create)
    {
        long cluster = 1L << create.ClusterBits;
        if (DivideUp(size, cluster * (cluster / (create.ExtendedL2 ? 16 : 8))) > Qcow2Constants.MaxL1Bytes / 8)
        {
            throw new OptionException("The image size is too large (try using a larger cluster size)");
        }

        long aligned = Align(size, cluster);
        long full = aligned + MetadataLength(aligned, cluster, create);
        long encryption = Align(create.Encryption?.Length ?? 0, cluster);
        return new Qcow2Size(full - aligned + data + encryption, full + encryption);
    }

    private static long MetadataLength(long aligned, long cluster, Qcow2CreateOptions create)
    {
        long l2Entry = create.ExtendedL2 ? 16 : 8;
        long l2 = Align(aligned / cluster, cluster / l2Entry) * l2Entry;
        long l1 = Align(l2 / cluster, cluster / 8) * 8;
        long known = cluster + l2 + l1;
        return known + (RefcountClusters((known + aligned) / cluster, cluster, create.RefcountOrder) * cluster);
    }

    // Refcount blocks and their table count themselves too, so their number is the fixed point.
    private static long RefcountClusters(long clusters, long cluster, int refcountOrder)
    {
        long perBlock = cluster * 8 >> refcountOrder;
        long blocks = 0;
        long table = 0;
        for (long last = -1, sum = 0; sum != last;)
        {
            last = sum;
            blocks = DivideUp(clusters + table + blocks, perBlock);
            table = DivideUp(blocks, cluster / 8);
            sum = clusters + blocks + table;
        }

        return blocks + table;
    }

    private static long Align(long value, long unit) => DivideUp(value, unit) * unit;

    private static long DivideUp(long value, long unit) => (value + unit - 1) / unit;
}
