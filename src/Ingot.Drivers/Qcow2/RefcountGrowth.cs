using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Makes the refcount blocks, and the bigger refcount table, that new clusters at the end of the image need.</summary>
internal sealed class RefcountGrowth(Qcow2Geometry geometry, HostFile file, RefcountTable refcounts)
{
    /// <summary>Told of clusters that hold the old refcount table once it has moved.</summary>
    internal Action<long, long>? Retired { get; set; }

    /// <summary>Makes what the clusters of a run at the end of the image need; it lies behind the run.</summary>
    /// <param name="first">The run's first cluster.</param>
    /// <param name="count">Its clusters.</param>
    /// <param name="fresh">The file holds zeroes from this cluster on.</param>
    /// <returns>Where what is used ends then.</returns>
    internal async IoTask<long> ExtendAsync(long first, long count, long fresh)
    {
        (long blockCount, long tableClusters) = Plan(first, count);
        long end = first + count + blockCount + tableClusters;
        if (end > MaxHostOffset >> geometry.ClusterBits || tableClusters > Math.Max(1, MaxRefcountTableBytes >> geometry.ClusterBits))
        {
            throw new ErrnoException(Errno.EFBIG, $"Image '{file.FileName}' can't grow beyond {first << geometry.ClusterBits} bytes: its refcount table is full");
        }

        long firstBlock = first + count;
        if (blockCount == 0 && tableClusters == 0)
        {
            return end;
        }

        if (tableClusters > 0)
        {
            file.Signal(BlockEvents.GrowRefcountTable);
        }

        long stale = Math.Min(fresh, end) - firstBlock;
        if (stale > 0)
        {
            await file.WriteZeroesAsync(firstBlock << geometry.ClusterBits, stale << geometry.ClusterBits);
        }

        // All that follows must be one step for whoever writes tables back, so what it needs is brought into memory first.
        for (long cluster = firstBlock; cluster < end;)
        {
            if (refcounts.BlockOf(cluster) != 0 && !refcounts.TryGet(cluster, out _))
            {
                await refcounts.LoadAsync(cluster);
                cluster = firstBlock;
                continue;
            }

            cluster++;
        }

        Link(first, firstBlock, blockCount, tableClusters);
        return end;
    }

    private (long Blocks, long TableClusters) Plan(long first, long count)
    {
        long blocks = 0;
        long tableClusters = 0;
        while (true)
        {
            long lastBlock = (first + count + blocks + tableClusters - 1) >> geometry.RefcountBlockBits;
            long missing = 0;
            for (long index = first >> geometry.RefcountBlockBits; index <= lastBlock; index++)
            {
                missing += index >= refcounts.Table.Count || refcounts.Table[(int)index] == 0 ? 1 : 0;
            }

            // A table that must grow grows by half, so that it does so rarely.
            long entries = Math.Max(lastBlock + 1, refcounts.Table.Count + (refcounts.Table.Count / 2L));
            entries = Math.Max(lastBlock + 1, Math.Min(entries, MaxRefcountTableBytes / 8));
            long clusters = lastBlock < refcounts.Table.Count ? 0 : geometry.ClustersFor(entries * 8);
            if (missing <= blocks && clusters <= tableClusters)
            {
                return (blocks, tableClusters);
            }

            blocks = Math.Max(blocks, missing);
            tableClusters = Math.Max(tableClusters, clusters);
        }
    }

    private void Link(long first, long firstBlock, long blockCount, long tableClusters)
    {
        if (tableClusters > 0)
        {
            PagedTable old = refcounts.Table;
            long offset = (firstBlock + blockCount) << geometry.ClusterBits;
            refcounts.Table = old.Moved(offset, (int)(tableClusters << geometry.ClusterBits) / 8);
            Retired?.Invoke(geometry.ClusterOf(old.Offset), geometry.ClustersFor(old.Count * 8L));
        }

        long next = firstBlock;
        for (long index = first >> geometry.RefcountBlockBits; next < firstBlock + blockCount; index++)
        {
            if (refcounts.Table[(int)index] == 0)
            {
                refcounts.Blocks.Forget(next << geometry.ClusterBits, geometry.ClusterLength);
                refcounts.Table[(int)index] = (ulong)(next++ << geometry.ClusterBits);
            }
        }

        for (long cluster = firstBlock; cluster < firstBlock + blockCount + tableClusters; cluster++)
        {
            refcounts.SetInNewBlock(cluster, 1);
        }
    }
}
