using System.Buffers.Binary;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Adds and drops one reference of all that an L1 table leads to: L2 tables and what they name. Reads the tables from the file, which must be up to date.</summary>
internal sealed class TreeReferences(Qcow2Image image)
{
    private readonly Qcow2Geometry _geometry = image.Geometry;

    /// <summary>Refuses when something is not counted, or a count would become larger than its width allows, before anything is changed.</summary>
    internal async IoTask RefuseOverflowAsync(PagedTable l1)
    {
        var high = new Dictionary<long, ulong>();
        using var table = new IoBuffer(_geometry.ClusterLength);
        for (int index = 0; index < l1.Count; index++)
        {
            if (TableOf(l1, index) is not (> 0 and long offset))
            {
                continue;
            }

            await RefuseOverflowAsync(_geometry.ClusterOf(offset), high);
            await image.File.ReadAsync(offset, table.Vector);
            for (int at = 0; at < _geometry.ClusterLength; at += 1 << _geometry.L2EntryBits)
            {
                (long first, long count) = ClustersOf(EntryAt(table, at));
                for (long cluster = first; cluster < first + count; cluster++)
                {
                    await RefuseOverflowAsync(cluster, high);
                }
            }
        }
    }

    /// <summary>Adds a reference, and clears the copied flags of the L2 entries: what they name is shared from now on.</summary>
    internal async IoTask AddAsync(PagedTable l1)
    {
        using var table = new IoBuffer(_geometry.ClusterLength);
        for (int index = 0; index < l1.Count; index++)
        {
            if (TableOf(l1, index) is not (> 0 and long offset))
            {
                continue;
            }

            await AddAsync(_geometry.ClusterOf(offset));
            await image.File.ReadAsync(offset, table.Vector);
            bool isChanged = false;
            for (int at = 0; at < _geometry.ClusterLength; at += 1 << _geometry.L2EntryBits)
            {
                ulong entry = EntryAt(table, at);
                (long first, long count) = ClustersOf(entry);
                for (long cluster = first; cluster < first + count; cluster++)
                {
                    await AddAsync(cluster);
                }

                isChanged |= SetCopied(table, at, entry, false);
            }

            await WriteIfAsync(isChanged, offset, table);
            await KeepCountsBoundedAsync();
        }
    }

    /// <summary>Drops a reference of everything, and of the L1 table's own clusters. Nothing in the file may name the table any more.</summary>
    internal async IoTask DropAsync(PagedTable l1)
    {
        using var table = new IoBuffer(_geometry.ClusterLength);
        for (int index = 0; index < l1.Count; index++)
        {
            if (TableOf(l1, index) is not (> 0 and long offset))
            {
                continue;
            }

            await image.BeginChangeAsync();
            await image.File.ReadAsync(offset, table.Vector);
            image.Map.Tables.Forget(offset, _geometry.ClusterLength);
            for (int at = 0; at < _geometry.ClusterLength; at += 1 << _geometry.L2EntryBits)
            {
                image.FreeEntry(EntryAt(table, at), discard: true);
            }

            image.Tables.Free(_geometry.ClusterOf(offset), 1, discard: true);
        }

        if (l1.Count > 0)
        {
            image.Tables.Free(_geometry.ClusterOf(l1.Offset), _geometry.ClustersFor(l1.Count * 8L), discard: true);
        }
    }

    /// <summary>Makes the copied flags of the active tables what the counts say.</summary>
    internal async IoTask RefreshCopiedAsync(PagedTable l1)
    {
        using var table = new IoBuffer(_geometry.ClusterLength);
        for (int index = 0; index < l1.Count; index++)
        {
            if (TableOf(l1, index) is not (> 0 and long offset))
            {
                continue;
            }

            bool isOwn = await image.Refcounts.GetAsync(_geometry.ClusterOf(offset)) == 1;
            if (isOwn != ((l1[index] & CopiedFlag) != 0))
            {
                l1[index] ^= CopiedFlag;
            }

            await image.File.ReadAsync(offset, table.Vector);
            bool isChanged = false;
            for (int at = 0; at < _geometry.ClusterLength; at += 1 << _geometry.L2EntryBits)
            {
                ulong entry = EntryAt(table, at);
                if (image.Map.KindOf(entry) is ClusterKind.Data or ClusterKind.ZeroAllocated)
                {
                    isChanged |= SetCopied(table, at, entry, await image.Refcounts.GetAsync(ClustersOf(entry).First) == 1);
                }
            }

            await WriteIfAsync(isChanged, offset, table);
        }
    }

    private static ulong EntryAt(IoBuffer table, int at) => BinaryPrimitives.ReadUInt64BigEndian(table.Span[at..]);

    private static bool SetCopied(IoBuffer table, int at, ulong entry, bool isCopied)
    {
        if (entry == 0 || isCopied == ((entry & CopiedFlag) != 0))
        {
            return false;
        }

        BinaryPrimitives.WriteUInt64BigEndian(table.Span[at..], entry ^ CopiedFlag);
        return true;
    }

    private long TableOf(PagedTable l1, int index)
    {
        long offset = (long)(l1[index] & OffsetMask);
        return _geometry.InCluster(offset) == 0 ? offset
            : throw ErrnoException.For(Errno.EIO, $"Image '{image.File.FileName}' is corrupt: L2 table offset 0x{offset:x} unaligned (L1 index: {index})");
    }

    private (long First, long Count) ClustersOf(ulong entry)
    {
        switch (image.Map.KindOf(entry))
        {
            case ClusterKind.Data or ClusterKind.ZeroAllocated:
                return (_geometry.ClusterOf((long)(entry & OffsetMask)), 1);
            case ClusterKind.Compressed:
                long offset = _geometry.CompressedOffset(entry);
                long first = _geometry.ClusterOf(offset);
                return (first, _geometry.ClusterOf(offset + _geometry.CompressedLength(entry) - 1) - first + 1);
            default:
                return default;
        }
    }

    // Several compressed clusters may share one of the file; only counts that two rounds of doubling could overflow are remembered.
    private async IoTask RefuseOverflowAsync(long cluster, Dictionary<long, ulong> high)
    {
        ulong count = await GetAsync(cluster);
        if (count <= _geometry.MaxRefcount / 2)
        {
            return;
        }

        ulong added = high.GetValueOrDefault(cluster) + 1;
        high[cluster] = added;
        if (added > _geometry.MaxRefcount - count)
        {
            throw ErrnoException.For(Errno.EINVAL, $"Image '{image.File.FileName}': the reference count of cluster {cluster} would exceed {_geometry.MaxRefcount}");
        }
    }

    private async IoTask AddAsync(long cluster) => await image.Refcounts.SetAsync(cluster, await GetAsync(cluster) + 1);

    private async IoTask<ulong> GetAsync(long cluster)
        => await image.Refcounts.GetAsync(cluster) is > 0 and ulong count ? count
            : throw ErrnoException.For(Errno.EIO, $"Image '{image.File.FileName}' is corrupt: cluster {cluster} is in use but not counted");

    private async IoTask WriteIfAsync(bool isChanged, long offset, IoBuffer table)
    {
        if (isChanged)
        {
            await image.File.WriteAsync(offset, table.Vector);
            image.Map.Tables.Forget(offset, _geometry.ClusterLength);
        }
    }

    private IoTask KeepCountsBoundedAsync() => image.Tables.IsUrgent ? image.Tables.WriteAsync(withCounts: true) : IoTask.Completed;
}
