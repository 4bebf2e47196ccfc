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
        long first = _geometry.AlignUp(offset);
        long last = end == image.Length ? _geometry.AlignUp(end) : _geometry.AlignDown(end);

        bool wholeClusters = last > first && (_geometry.Version >= 3 || image.Backing is null);
        if (!wholeClusters)
        {
            await WriteDataAsync(offset, end, flags);
            return;
        }

        if (offset < first)
        {
            await WriteDataAsync(offset, first, flags);
        }

        await ZeroClustersAsync(first, last, flags);
        if (last < end)
        {
            await WriteDataAsync(last, end, flags);
        }
    }

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

        ulong empty = _geometry.Version < 3 ? 0 : ZeroFlag;
        await ReplaceAsync(first, last, (kind, entry) => kind is ClusterKind.Zero || (kind is ClusterKind.Unallocated && image.Backing is null) ? entry : empty, discard: true);
    }

    /// <summary>Drops clusters and what they said, for a disk that gets smaller.</summary>
    internal IoTask DropAsync(long first, long last) => ReplaceAsync(first, last, (_, _) => 0, discard: true);

    private async IoTask ZeroClustersAsync(long first, long last, ZeroFlags flags)
    {
        bool mayUnmap = (flags & ZeroFlags.MayUnmap) != 0;
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
                    await ReplaceAsync(at, end, (_, _) => 0, discard: true);
                }
                else
                {
                    await WriteDataAsync(at, Math.Min(end, image.Length), flags);
                }
            }

            at = end;
        }
    }

    private static ulong ZeroEntry(ClusterKind kind, ulong entry, bool mayUnmap) => kind switch
    {
        ClusterKind.Zero => entry,
        ClusterKind.Data or ClusterKind.ZeroAllocated when !mayUnmap => entry | ZeroFlag,
        _ => ZeroFlag,
    };

    private async IoTask ReplaceAsync(long first, long last, Func<ClusterKind, ulong, ulong> change, bool discard)
    {
        while (first < last)
        {
            await image.BeginChangeAsync();
            long end = Math.Min(last, ((first >> _geometry.L1Shift) + 1) << _geometry.L1Shift);
            using RangeLock.Held held = await image.Locks.LockAsync(first, end - first);
            bool tableMissing = (image.Map.L1[(int)(first >> _geometry.L1Shift)] & OffsetMask) == 0;
            if (tableMissing && change(ClusterKind.Unallocated, 0) == 0)
            {
                first = end;
                continue;
            }

            await image.EnsureTableAsync(first);
            while (first < end)
            {
                CachedTable table = await image.Map.GetTableAsync(first);
                long sliceEnd = Math.Min(end, (first & -image.Map.SliceCoverage) + image.Map.SliceCoverage);
                for (; first < sliceEnd; first += _geometry.ClusterLength)
                {
                    Replace(table, first, change, discard);
                }
            }
        }
    }

    private void Replace(CachedTable table, long offset, Func<ClusterKind, ulong, ulong> change, bool discard)
    {
        ulong old = image.Map.GetEntry(table, offset);
        ulong entry = change(image.Map.KindOf(old), old);
        if (entry == old)
        {
            return;
        }

        image.Map.SetEntry(table, offset, entry);
        if ((entry & OffsetMask) == 0)
        {
            image.FreeEntry(old, discard);
        }
    }

    // Parts of clusters, and what has no zero clusters: nothing to do where zeroes are read already.
    private async IoTask WriteDataAsync(long offset, long end, ZeroFlags flags)
    {
        if (await reader.IsZeroAsync(offset, end - offset))
        {
            return;
        }

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
