using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Zeroes and discards: whole clusters by table entries, parts of clusters by writing.</summary>
internal sealed class ClusterEraser(Qcow2Image image, ClusterReader reader, ClusterWriter writer)
{
    private const int MaxChunk = 1 << 20;

    private readonly Qcow2Geometry _geometry = image.Geometry;

    internal async IoTask WriteZeroesAsync(long offset, long length, ZeroFlags flags)
    {
        long end = offset + length;
        long first = _geometry.AlignUpToSubcluster(offset);
        long last = end == image.Length ? _geometry.AlignUpToSubcluster(end) : _geometry.AlignDownToSubcluster(end);

        bool hasUnits = last > first && (_geometry.Version >= 3 || image.Backing is null);
        if (!hasUnits)
        {
            await ZeroPartsAsync(offset, end, flags);
            return;
        }

        await ZeroPartsAsync(offset, first, flags);
        if (await HasCompressedEdgeAsync(first, last))
        {
            await WriteDataAsync(first, Math.Min(last, image.Length), flags);
        }
        else
        {
            await ZeroClustersAsync(first, last, flags);
        }

        await ZeroPartsAsync(last, Math.Max(last, end), flags);
    }

    // Parts of subclusters become whole ones where all of it would read as zeroes, and are written otherwise, also behind the end of the backing file,
    // which may grow.
    private async IoTask ZeroPartsAsync(long offset, long end, ZeroFlags flags)
    {
        while (offset < end)
        {
            long partEnd = Math.Min(end, _geometry.AlignDownToSubcluster(offset) + _geometry.SubclusterLength);
            if (_geometry.Version < 3)
            {
                await WriteDataAsync(offset, partEnd, flags);
            }
            else if (!await TryZeroUnitAsync(offset, partEnd, flags))
            {
                await StoreZeroesAsync(offset, partEnd, flags);
            }

            offset = partEnd;
        }
    }

    private async IoTask<bool> TryZeroUnitAsync(long offset, long end, ZeroFlags flags)
    {
        long unit = _geometry.AlignDownToSubcluster(offset);
        long unitEnd = unit + _geometry.SubclusterLength;
        long cluster = _geometry.AlignDown(unit);
        await image.BeginChangeAsync();

        // Under the lock nobody stores anything in the rest of the unit.
        using RangeLock.Held held = await image.Locks.LockAsync(cluster, _geometry.ClusterLength);
        Mapping mapping = await image.MapAsync(unit, 1);
        if (mapping.Kind is ClusterKind.Zero or ClusterKind.ZeroAllocated)
        {
            return true;
        }

        bool canZero = mapping.Kind is ClusterKind.Unallocated or ClusterKind.Reserved
            && await reader.ReadsAsZeroAsync(unit, offset - unit) && await reader.ReadsAsZeroAsync(end, unitEnd - end);
        if (canZero)
        {
            await EmptyDataFileAsync(unit, unitEnd, flags);
            await ReplaceLockedAsync(unit, unitEnd, (kind, entry) => ZeroEntry(kind, entry, mayUnmap: false), discard: false);
        }

        return canZero;
    }

    /// <summary>Whether a range certainly reads as zeroes.</summary>
    internal IoTask<bool> IsZeroAsync(long offset, long length) => reader.IsZeroAsync(offset, length);

    // A compressed cluster has no subclusters, so its parts must be written, and the range with them, as QEMU does.
    private async IoTask<bool> HasCompressedEdgeAsync(long first, long last)
        => _geometry.IsExtended
            && ((_geometry.InCluster(first) != 0 && (await image.MapAsync(first, 1)).Kind == ClusterKind.Compressed)
                || (_geometry.InCluster(last) != 0 && (await image.MapAsync(last - 1, 1)).Kind == ClusterKind.Compressed));

    /// <summary>Gives up whole clusters; parts of clusters are kept.</summary>
    internal async IoTask DiscardAsync(long offset, long length)
    {
        long end = offset + length;
        long first = _geometry.AlignUp(offset);
        long last = end == image.Length ? _geometry.AlignUp(end) : _geometry.AlignDown(end);

        // Without zero clusters the backing file would show through.
        if (first >= last || (_geometry.Version < 3 && image.Backing is not null))
        {
            return;
        }

        await EmptyDataFileAsync(first, last, ZeroFlags.MayUnmap);

        await ReplaceAsync(first, last, (kind, entry) => kind is ClusterKind.Zero || (kind is ClusterKind.Unallocated && image.Backing is null) ? entry : Empty, discard: true);
    }

    // What an entry of zeroes without space is.
    private L2Entry Empty => _geometry.Version < 3 ? default : _geometry.IsExtended ? new L2Entry(0, L2Entry.AllZero) : new L2Entry(ZeroFlag, 0);

    /// <summary>Drops clusters and what they said, for a disk that gets smaller.</summary>
    internal IoTask DropAsync(long first, long last) => ReplaceAsync(first, last, (_, _) => default, discard: true);

    private async IoTask ZeroClustersAsync(long first, long last, ZeroFlags flags)
    {
        bool mayUnmap = (flags & ZeroFlags.MayUnmap) != 0;
        await EmptyDataFileAsync(first, last, flags);

        if (_geometry.Version >= 3)
        {
            await ReplaceAsync(first, last, (kind, entry) => ZeroEntry(kind, entry, mayUnmap), discard: mayUnmap);
            return;
        }

        // Version 2 has no zero clusters; without a backing file an absent cluster is one.
        for (long at = first; at < last;)
        {
            Mapping mapping = await image.MapAsync(at, last - at);
            long end = _geometry.AlignUp(at + mapping.Length);
            if (mapping.Kind != ClusterKind.Unallocated)
            {
                if (mayUnmap)
                {
                    await ReplaceAsync(at, end, (_, _) => default, discard: true);
                }
                else
                {
                    await WriteDataAsync(at, Math.Min(end, image.Length), flags);
                }
            }

            at = end;
        }
    }

    private L2Entry ZeroEntry(ClusterKind kind, L2Entry entry, bool mayUnmap)
    {
        bool keepsPlace = kind is ClusterKind.Data or ClusterKind.ZeroAllocated && !mayUnmap;
        return kind == ClusterKind.Zero ? entry
            : !keepsPlace ? Empty
            : _geometry.IsExtended ? entry with { Subclusters = L2Entry.AllZero }
            : entry with { Value = entry.Value | ZeroFlag };
    }

    // A raw data file must read as the disk does, whatever the tables say. Places in a data file are given again at once, so that the space must go before;
    // as zeroes, because a crash may keep the old entries. Those would decrypt the zeroes, so that encrypted space is kept.
    private IoTask EmptyDataFileAsync(long first, long last, ZeroFlags flags)
    {
        long length = Math.Min(last, image.Length) - first;
        return length <= 0 || !_geometry.HasDataFile ? IoTask.Completed
            : image.Header.Current.IsDataFileRaw ? image.Data.WriteZeroesAsync(first, length, flags & ~ZeroFlags.Fua)
            : (flags & ZeroFlags.MayUnmap) != 0 && image.PassesDiscards && image.Encryption is null && first < image.Data.Length
                ? image.Data.WriteZeroesAsync(first, Math.Min(length, image.Data.Length - first), ZeroFlags.MayUnmap)
            : IoTask.Completed;
    }

    private async IoTask ReplaceAsync(long first, long last, Func<ClusterKind, L2Entry, L2Entry> change, bool discard)
    {
        while (first < last)
        {
            await image.BeginChangeAsync();
            long end = Math.Min(last, ((first >> _geometry.L1Shift) + 1) << _geometry.L1Shift);
            long start = _geometry.AlignDown(first);
            using RangeLock.Held held = await image.Locks.LockAsync(start, _geometry.AlignUp(end) - start);
            bool tableMissing = (image.Map.L1[(int)(first >> _geometry.L1Shift)] & OffsetMask) == 0;
            if (tableMissing && change(ClusterKind.Unallocated, default) == default)
            {
                first = end;
                continue;
            }

            await ReplaceLockedAsync(first, end, change, discard);
            first = end;
        }
    }

    // Within one L2 table.
    private async IoTask ReplaceLockedAsync(long first, long end, Func<ClusterKind, L2Entry, L2Entry> change, bool discard)
    {
        await image.L2Tables.EnsureAsync(first);
        await image.L2Tables.RefuseCorruptAsync(first);
        while (first < end)
        {
            CachedTable table = await image.Map.GetTableAsync(first);
            long sliceEnd = Math.Min(end, (first & -image.Map.SliceCoverage) + image.Map.SliceCoverage);
            while (first < sliceEnd)
            {
                long clusterEnd = Math.Min(sliceEnd, _geometry.AlignDown(first) + _geometry.ClusterLength);
                if (clusterEnd - first == _geometry.ClusterLength)
                {
                    Replace(table, first, change, discard);
                }
                else
                {
                    ZeroSubclusters(table, first, clusterEnd);
                }

                first = clusterEnd;
            }
        }
    }

    private void Replace(CachedTable table, long offset, Func<ClusterKind, L2Entry, L2Entry> change, bool discard)
    {
        L2Entry old = image.Map.GetEntry(table, offset);
        ClusterKind kind = image.Map.KindOf(old.Value);
        L2Entry entry = change(kind == ClusterKind.Unallocated && old.Subclusters == L2Entry.AllZero ? ClusterKind.Zero : kind, old);
        if (entry == old)
        {
            return;
        }

        image.Map.SetEntry(table, offset, entry);
        if ((entry.Value & (OffsetMask | CopiedFlag)) == 0)
        {
            image.FreeEntry(old.Value, discard);
        }
    }

    private void ZeroSubclusters(CachedTable table, long first, long last)
    {
        L2Entry old = image.Map.GetEntry(table, first);
        L2Entry entry = old.WithZero(image.Map.MaskOf(_geometry.AlignDown(first), first, last));
        if (entry != old && image.Map.KindOf(old.Value) is ClusterKind.Data or ClusterKind.Unallocated)
        {
            image.Map.SetEntry(table, first, entry);
        }
    }

    // Parts of clusters, and what has no zero clusters: nothing to do where zeroes are read already.
    private async IoTask WriteDataAsync(long offset, long end, ZeroFlags flags)
    {
        if (!await reader.IsZeroAsync(offset, end - offset))
        {
            await StoreZeroesAsync(offset, end, flags);
        }
    }

    private async IoTask StoreZeroesAsync(long offset, long end, ZeroFlags flags)
    {
        if ((flags & ZeroFlags.NoFallback) != 0)
        {
            throw new ErrnoException(Errno.EOPNOTSUPP, $"Image '{image.File.FileName}' can't zero bytes {offset} to {end} without writing data");
        }

        using IoBuffer zeroes = IoBuffer.Zeroed((int)Math.Min(end - offset, MaxChunk));
        while (offset < end)
        {
            int count = (int)Math.Min(end - offset, zeroes.Length);
            await writer.WriteAsync(offset, zeroes.Slice(0, count));
            offset += count;
        }
    }
}
