using System.Buffers.Binary;
using Ingot.Io;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Gets rid of zero clusters, which version 2 does not have: without a backing file an absent cluster says the same, else there must be one that stores
/// zeroes. Tables of the disk first, which are made its own where snapshots share them, then those of the snapshots, in place.
/// </summary>
internal sealed class ZeroClusterExpansion(Qcow2Image image)
{
    private readonly Qcow2Geometry _geometry = image.Geometry;
    private readonly HashSet<long> _seen = [];
    private long _done;
    private long _total;

    internal async IoTask RunAsync(Action<long, long>? progress)
    {
        foreach (Snapshot snapshot in image.Snapshots.Snapshots)
        {
            snapshot.RefuseBadTable(_geometry);
        }

        _total = image.Map.L1.Count + image.Snapshots.Snapshots.Sum(s => (long)s.L1Entries);
        for (int index = 0; index < image.Map.L1.Count; index++)
        {
            await ExpandActiveAsync(index);
            progress?.Invoke(++_done, _total);
        }

        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
        foreach (Snapshot snapshot in image.Snapshots.Snapshots)
        {
            PagedTable l1 = await snapshot.ReadL1Async(image);
            for (int i = 0; i < l1.Count; i++)
            {
                await ExpandInactiveAsync((long)i << _geometry.L1Shift, (long)(l1[i] & OffsetMask));
                progress?.Invoke(++_done, _total);
            }
        }
    }

    private async IoTask ExpandActiveAsync(int index)
    {
        if ((image.Map.L1[index] & OffsetMask) == 0)
        {
            return;
        }

        long start = (long)index << _geometry.L1Shift;
        long end = Math.Min(start + (1L << _geometry.L1Shift), _geometry.AlignUp(image.Length));
        for (long at = start; at < end;)
        {
            await image.BeginChangeAsync();
            Mapping mapping = await image.MapAsync(at, end - at);
            if (mapping.Kind is not (ClusterKind.Zero or ClusterKind.ZeroAllocated))
            {
                at = _geometry.AlignUp(at + mapping.Length);
                continue;
            }

            await image.L2Tables.EnsureAsync(at);
            CachedTable table = await image.Map.GetTableAsync(at);
            ulong value = image.Map.GetEntry(table, at).Value;
            ulong expanded = await ExpandAsync(at, value, references: 1, canKeep: true);
            table = await image.Map.GetTableAsync(at);
            image.Map.SetEntry(table, at, new L2Entry(expanded, 0));
            at += _geometry.ClusterLength;
        }
    }

    // Whoever shares the table shares its clusters.
    private async IoTask ExpandInactiveAsync(long guest, long offset)
    {
        if (offset == 0 || _geometry.InCluster(offset) != 0 || !_seen.Add(offset))
        {
            return;
        }

        byte[] table = await image.File.ReadBytesAsync(offset, _geometry.ClusterLength);
        ulong references = await image.Refcounts.GetAsync(_geometry.ClusterOf(offset));
        bool changed = false;
        for (int i = 0; i < table.Length; i += 8)
        {
            ulong value = BinaryPrimitives.ReadUInt64BigEndian(table.AsSpan(i));
            if (image.Map.KindOf(value) is ClusterKind.Zero or ClusterKind.ZeroAllocated)
            {
                ulong expanded = await ExpandAsync(guest + ((i / 8L) << _geometry.ClusterBits), value, references, canKeep: false);
                BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan(i), references == 1 ? expanded : expanded & ~CopiedFlag);
                changed = true;
            }
        }

        if (changed)
        {
            await image.Tables.WriteAllAsync();
            await image.File.FlushAsync();
            image.Map.Tables.Forget(offset, _geometry.ClusterLength);
            await image.File.WriteBytesAsync(offset, table);
        }
    }

    private async IoTask<ulong> ExpandAsync(long guest, ulong value, ulong references, bool canKeep)
    {
        long host = (long)(value & OffsetMask);
        if (canKeep && host != 0 && (value & CopiedFlag) != 0)
        {
            await image.Content.WriteZeroClusterAsync(guest, host);
            return value & ~ZeroFlag;
        }

        for (ulong i = 0; i < references; i++)
        {
            image.FreeEntry(value, discard: false);
        }

        if (image.Backing is null)
        {
            return 0;
        }

        ClusterRun run = await image.Allocator.AllocateAsync(1);
        long offset = run.First << _geometry.ClusterBits;
        await image.Content.WriteZeroClusterAsync(guest, offset);
        if (references > 1)
        {
            await image.Refcounts.SetAsync(run.First, references);
        }

        return (ulong)offset | CopiedFlag;
    }
}
