using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Checks an image: counts what is used, compares with the reference counts on disk, looks at the copied flags, and repairs on request. Messages are
/// those of qemu-img check. No other request may be in flight.
/// </summary>
internal sealed class Qcow2Check(Qcow2Image image, Action<string>? report)
{
    private const int MaxDiffering = 65536;

    private readonly Qcow2Geometry _geometry = image.Geometry;
    private readonly Action<string> _report = report ?? (_ => { });
    private readonly HashSet<long> _badBlocks = [];
    private readonly Dictionary<long, ulong> _differing = []; // what the file counts where it is not what was counted
    private ReferenceMap? _counted;
    private bool _hasManyDiffering;
    private bool _mustRebuild;

    internal async IoTask<Qcow2CheckResult> RunAsync(Qcow2Repair repair)
    {
        if (image.IsWritable)
        {
            await image.Tables.WriteAllAsync();
        }

        Qcow2CheckResult result = NewResult();
        var snapshots = new SnapshotTableCheck(image, _report);
        await snapshots.ReadAsync(result, repair);
        if (repair == Qcow2Repair.All && image.Header.Current.IsDirty)
        {
            await ExtendFileAsync();
        }

        var counter = new ReferenceCounter(image, result, _report) { RepairsEntries = repair == Qcow2Repair.All };
        await counter.CountAsync();
        ReferenceMap withoutRefcounts = repair == Qcow2Repair.All ? await CountAgainAsync(result) : counter.References;
        if (result.CheckErrors > 0)
        {
            // A table that can't be read may name any cluster: to take its counts away would be the end of them.
            repair = Qcow2Repair.None;
            result.CorruptionsFixed -= counter.Misplaced.Count;
            result.Corruptions += counter.Misplaced.Count;
        }
        else
        {
            await GiveUpSpaceAsync(counter.Misplaced);
        }

        CountRefcountStructure(counter);
        _counted = counter.References;
        await CompareAsync(counter.References, result, repair);
        if (_mustRebuild && repair == Qcow2Repair.Leaks)
        {
            _report("ERROR need to rebuild refcount structures");
            throw ErrnoException.For(Errno.EIO, "Check failed");
        }

        if (_mustRebuild && repair == Qcow2Repair.All)
        {
            _report("Rebuilding refcount structure");
            List<long> old = [.. FindOwn(counter.References, withoutRefcounts)];
            long used = await new RefcountRebuild(image, withoutRefcounts, _geometry).RunAsync();
            result.CorruptionsFixed += result.Corruptions;
            result.LeaksFixed += result.Leaks;
            result.Corruptions = result.Leaks = 0;
            result.ImageEndOffset = used;
            _badBlocks.Clear();
            _differing.Clear();
            _hasManyDiffering = false;
            _counted = withoutRefcounts;
            await RecountAsync(result);
            foreach (long cluster in old)
            {
                _report($"Repairing cluster {cluster} refcount=1 reference=0");
            }
        }

        await CheckCopiedAsync(result, repair);
        if (repair != Qcow2Repair.None)
        {
            await FinishRepairAsync(result, snapshots, repair);
        }
        else
        {
            result.Corruptions += snapshots.Found;
        }

        return result;
    }

    private async IoTask GiveUpSpaceAsync(List<long> entries)
    {
        foreach (long place in entries)
        {
            // An extended entry has a second half, which says what is zero and stays.
            byte[] noPlace = new byte[8];
            BinaryPrimitives.WriteUInt64BigEndian(noPlace, _geometry.IsExtended ? 0 : ZeroFlag);
            image.Map.Tables.Forget(place & -(long)image.Map.Tables.SliceLength, image.Map.Tables.SliceLength);
            await image.File.WriteBytesAsync(place, noPlace);
        }
    }

    // The clusters of the refcount table and its blocks.
    private static IEnumerable<long> FindOwn(ReferenceMap all, ReferenceMap withoutRefcounts)
    {
        for (long cluster = 0; cluster < all.End; cluster++)
        {
            if (all[cluster] != 0 && withoutRefcounts[cluster] == 0)
            {
                yield return cluster;
            }
        }
    }

    private Qcow2CheckResult NewResult() => new() { TotalClusters = _geometry.ClustersFor(image.Length) };

    // Where the image is marked dirty, entries may have become durable before the file had grown: what they name was zero and is.
    private async IoTask ExtendFileAsync()
    {
        var counter = new ReferenceCounter(image, NewResult(), _ => { });
        await counter.CountAsync();
        long room = image.File.Length + _geometry.AlignUp(image.Length);
        if (counter.MissingEnd > 0 && counter.MissingEnd <= room && (image.File.Node.Features & BlockFeatures.Resize) != 0)
        {
            await image.File.ResizeAsync(_geometry.AlignUp(counter.MissingEnd));
        }
    }

    // A rebuild drops the old table and blocks, so it needs the counts without them; silently, errors have been told.
    private async IoTask<ReferenceMap> CountAgainAsync(Qcow2CheckResult result)
    {
        Qcow2CheckResult again = NewResult();
        var counter = new ReferenceCounter(image, again, _ => { });
        await counter.CountAsync();
        result.CheckErrors = Math.Max(result.CheckErrors, again.CheckErrors);
        return counter.References;
    }

    // Errors of the tables themselves are still there after a rebuild.
    private async IoTask RecountAsync(Qcow2CheckResult result)
    {
        Qcow2CheckResult again = NewResult();
        await new ReferenceCounter(image, again, _report).CountAsync();
        result.Corruptions += again.Corruptions;
        result.CorruptionsFixed -= again.Corruptions;
    }

    private void CountRefcountStructure(ReferenceCounter counter)
    {
        PagedTable table = image.Refcounts.Table;
        counter.Count(table.Offset, table.Count * 8L);
        for (int index = 0; index < table.Count; index++)
        {
            ulong entry = table[index];
            long offset = (long)(entry & OffsetMask);
            if (entry == 0)
            {
                continue;
            }

            if ((entry & ~OffsetMask) != 0 || _geometry.InCluster(offset) != 0)
            {
                counter.Corrupt($"ERROR refcount block {index} is not cluster aligned; refcount table entry corrupted");
                _badBlocks.Add(index);
            }
            else if (_geometry.ClusterOf(offset) >= _geometry.ClustersFor(image.File.Length))
            {
                counter.Corrupt($"ERROR refcount block {index} is outside image");
                _badBlocks.Add(index);
            }
            else
            {
                counter.Count(offset, _geometry.ClusterLength);
                if (counter.References[_geometry.ClusterOf(offset)] != 1)
                {
                    counter.Corrupt($"ERROR refcount block {index} refcount={counter.References[_geometry.ClusterOf(offset)]}");
                    _mustRebuild = true;
                }
            }
        }

        _mustRebuild |= _badBlocks.Count > 0;
    }

    // Everything is looked at before anything is repaired: whether single counts can be repaired shows at the end.
    private async IoTask CompareAsync(ReferenceMap references, Qcow2CheckResult result, Qcow2Repair repair)
    {
        (long leaks, long corruptions) = (result.Leaks, result.Corruptions);
        await CompareOnceAsync(references, result, Qcow2Repair.None, withTail: repair != Qcow2Repair.None);
        if (repair != Qcow2Repair.None && !_mustRebuild && (result.Leaks > leaks || result.Corruptions > corruptions))
        {
            (result.Leaks, result.Corruptions) = (leaks, corruptions);
            await CompareOnceAsync(references, result, repair, withTail: true);
        }
    }

    private async IoTask CompareOnceAsync(ReferenceMap references, Qcow2CheckResult result, Qcow2Repair repair, bool withTail)
    {
        _differing.Clear();
        _hasManyDiffering = false;
        long end = Math.Max(_geometry.ClustersFor(image.File.Length), references.End);
        for (long cluster = 0; cluster < end; cluster++)
        {
            await CompareAsync(cluster, references[cluster], result, repair);
        }

        // Counts behind the end of the file become leaks when it grows again.
        for (int index = (int)Math.Min(int.MaxValue, end >> _geometry.RefcountBlockBits); withTail && !_mustRebuild && index < image.Refcounts.Table.Count; index++)
        {
            long first = (long)index << _geometry.RefcountBlockBits;
            long last = image.Refcounts.BlockOf(first) == 0 ? 0 : first + (1L << _geometry.RefcountBlockBits);
            for (long cluster = Math.Max(first, end); cluster < last; cluster++)
            {
                await CompareAsync(cluster, 0, result, repair);
            }
        }
    }

    private async IoTask CompareAsync(long cluster, ulong used, Qcow2CheckResult result, Qcow2Repair repair)
    {
        ulong counted = await ReadCountAsync(cluster, result);
        if (used != 0 || counted != 0)
        {
            result.ImageEndOffset = (cluster + 1) << _geometry.ClusterBits;
        }

        if (used == counted)
        {
            return;
        }

        bool isLeak = counted > used;
        bool canRepair = counted != 0 && !_mustRebuild && used <= _geometry.MaxRefcount
            && (isLeak ? repair != Qcow2Repair.None : repair == Qcow2Repair.All);
        _mustRebuild |= counted == 0;
        _report($"{(canRepair ? "Repairing" : isLeak ? "Leaked" : "ERROR")} cluster {cluster} refcount={counted} reference={used}");
        if (canRepair)
        {
            await image.Refcounts.SetAsync(cluster, used);
        }
        else if (_differing.Count < MaxDiffering)
        {
            _differing[cluster] = counted;
        }
        else
        {
            _hasManyDiffering = true;
        }

        Note(result, isLeak, canRepair);
        if (canRepair && image.Refcounts.Blocks.WantsWriteBack)
        {
            await image.Tables.WriteAsync(withCounts: true);
        }
    }

    // What the file counts, after the comparison. Tables name clusters in any order, so that to ask the file would take all of it into memory.
    private IoTask<ulong> CountAsync(long cluster, Qcow2CheckResult result)
        => _differing.TryGetValue(cluster, out ulong count) ? new IoTask<ulong>(count)
            : _hasManyDiffering ? ReadCountAsync(cluster, result)
            : new IoTask<ulong>(_counted![cluster]);

    private IoTask<ulong> ReadCountAsync(long cluster, Qcow2CheckResult result)
        => _badBlocks.Contains(cluster >> _geometry.RefcountBlockBits) ? new IoTask<ulong>(0)
            : image.Refcounts.TryGet(cluster, out ulong count) ? new IoTask<ulong>(count)
            : ReadCountSlowAsync(cluster, result);

    // A block that can't be read counts nothing; the rest of the check goes on.
    private async IoTask<ulong> ReadCountSlowAsync(long cluster, Qcow2CheckResult result)
    {
        try
        {
            return await image.Refcounts.GetAsync(cluster);
        }
        catch (IOException e)
        {
            result.CheckErrors++;
            _report($"Can't get refcount for cluster {cluster}: {e.Message}");
            return 0;
        }
    }

    private static void Note(Qcow2CheckResult result, bool isLeak, bool isFixed)
    {
        switch (isLeak, isFixed)
        {
            case (true, true):
                result.LeaksFixed++;
                break;
            case (true, false):
                result.Leaks++;
                break;
            case (false, true):
                result.CorruptionsFixed++;
                break;
            default:
                result.Corruptions++;
                break;
        }
    }

    // Once all counts are right, what they say of flags is, too.
    private async IoTask CheckCopiedAsync(Qcow2CheckResult result, Qcow2Repair repair)
    {
        bool repairs = repair == Qcow2Repair.All
            || (repair == Qcow2Repair.Leaks && result is { CheckErrors: 0, Corruptions: 0, Leaks: 0 });
        using var table = new IoBuffer(_geometry.ClusterLength);
        for (int index = 0; index < image.Map.L1.Count; index++)
        {
            ulong entry = image.Map.L1[index];
            long offset = (long)(entry & OffsetMask);
            if (offset == 0 || _geometry.InCluster(offset) != 0)
            {
                continue;
            }

            ulong count = await CountAsync(_geometry.ClusterOf(offset), result);
            if ((count == 1) != ((entry & CopiedFlag) != 0))
            {
                _report($"{(repairs ? "Repairing" : "ERROR")} OFLAG_COPIED L2 cluster: l1_index={index} l1_entry={entry:x} refcount={count}");
                Note(result, isLeak: false, repairs);
                if (repairs)
                {
                    image.Map.L1[index] = entry ^ CopiedFlag;
                }
            }

            await image.File.ReadAsync(offset, table.Vector);
            await CheckCopiedAsync(index, table, result, repairs);
        }
    }

    private async IoTask CheckCopiedAsync(int l1Index, IoBuffer table, Qcow2CheckResult result, bool repairs)
    {
        for (int i = 0; i < 1 << _geometry.L2Bits && !_geometry.HasDataFile; i++)
        {
            ulong entry = BinaryPrimitives.ReadUInt64BigEndian(table.Span[(i << _geometry.L2EntryBits)..]);
            if (image.Map.KindOf(entry) is not (ClusterKind.Data or ClusterKind.ZeroAllocated))
            {
                continue;
            }

            long cluster = _geometry.ClusterOf((long)(entry & OffsetMask));
            ulong count = await CountAsync(cluster, result);
            if ((count == 1) == ((entry & CopiedFlag) != 0))
            {
                continue;
            }

            _report($"{(repairs ? "Repairing" : "ERROR")} OFLAG_COPIED data cluster: l2_entry={entry:x} refcount={count}");
            Note(result, isLeak: false, repairs);
            if (repairs)
            {
                long guest = ((long)l1Index << _geometry.L1Shift) + ((long)i << _geometry.ClusterBits);
                CachedTable cached = await image.Map.GetTableAsync(guest);
                L2Entry current = image.Map.GetEntry(cached, guest);
                image.Map.SetEntry(cached, guest, current with { Value = current.Value ^ CopiedFlag });
            }
        }
    }

    private async IoTask FinishRepairAsync(Qcow2CheckResult result, SnapshotTableCheck snapshots, Qcow2Repair repair)
    {
        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
        image.Allocator.Reset();
        if (repair == Qcow2Repair.All && result.CheckErrors == 0 && snapshots.Found > 0)
        {
            await new Qcow2Snapshots(image).RewriteTableAsync();
            result.CorruptionsFixed += snapshots.Found;
        }
        else
        {
            result.Corruptions += snapshots.Found;
        }

        if (result.CheckErrors == 0 && result.Corruptions == 0)
        {
            Qcow2Header header = image.Header.Current;
            await image.Header.ChangeFeaturesAsync(header.Incompatible & ~(IncompatibleFeatures.Dirty | IncompatibleFeatures.Corrupt), header.Compatible, header.Autoclear);
        }
    }
}
