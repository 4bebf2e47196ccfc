using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Makes, applies and deletes internal snapshots. No other request may be in flight. References are counted before the header names who holds them and
/// dropped after it has stopped to, new tables lie in new clusters, and one write of the header changes the state. What a crash leaves are clusters that
/// are counted too often and copied flags that say too little; version 3 images are marked dirty meanwhile, so that opening repairs that.
/// </summary>
internal sealed class Qcow2Snapshots(Qcow2Image image)
{
    private const int MaxNameLength = 255;

    private readonly Qcow2Geometry _geometry = image.Geometry;
    private readonly TreeReferences _references = new(image);

    internal async IoTask CreateAsync(string name, DateTimeOffset date, long vmStateLength)
    {
        RefuseDataFile();
        IReadOnlyList<Snapshot> old = image.Snapshots.Snapshots;
        if (old.Count >= MaxSnapshots)
        {
            throw ErrnoException.For(Errno.EFBIG, $"Image '{image.File.FileName}' has {old.Count} snapshots");
        }

        PagedTable active = image.Map.L1;
        await SettleAsync();
        await _references.RefuseOverflowAsync(active);
        ClusterRun l1Run = await AllocateAsync(active.Count * 8L);
        try
        {
            long l1Offset = l1Run.First << _geometry.ClusterBits;
            var info = new SnapshotInfo(NewId(old), Truncate(name), vmStateLength, date.ToUnixTimeSeconds(), date.Ticks % TimeSpan.TicksPerSecond * 100, 0, 0, image.Length);
            List<Snapshot> snapshots = [.. old, new Snapshot(info, l1Offset, (uint)active.Count, [])];
            (ClusterRun tableRun, int length) = await WriteTableAsync(snapshots);
            await BeginAsync();
            await _references.AddAsync(active);
            for (int index = 0; index < active.Count; index++)
            {
                if ((active[index] & CopiedFlag) != 0)
                {
                    active[index] &= ~CopiedFlag;
                }
            }

            await image.Tables.WriteAllAsync();
            await image.File.WriteBytesAsync(l1Offset, active.Encode());
            await SwitchAsync(snapshots, tableRun, length);
        }
        catch when (!image.IsBetweenStates)
        {
            await UndoAsync(l1Run);
            throw;
        }

        await EndAsync();
    }

    internal async IoTask ApplyAsync(string idOrName)
    {
        RefuseDataFile();
        IReadOnlyList<Snapshot> all = image.Snapshots.Snapshots;
        Snapshot snapshot = all.FirstOrDefault(s => s.Info.Id == idOrName) ?? all.FirstOrDefault(s => s.Info.Name == idOrName)
            ?? throw ErrnoException.For(Errno.ENOENT, $"Image '{image.File.FileName}' has no snapshot '{idOrName}'");
        long size = snapshot.Info.DiskSize;
        long needed = size < 0 || size > long.MaxValue - _geometry.ClusterLength ? long.MaxValue : _geometry.L1EntriesFor(size);
        if (needed > MaxL1Bytes / 8)
        {
            throw ErrnoException.For(Errno.EFBIG, $"Snapshot '{idOrName}' has an invalid disk size of {size} bytes");
        }

        if (size != image.Length && (image.Header.Current.HasBitmaps || _geometry.Version < 3))
        {
            throw ErrnoException.For(Errno.ENOTSUP, $"Image '{image.File.FileName}' can't change its size with the snapshot");
        }

        await SettleAsync();
        PagedTable old = image.Map.L1;
        PagedTable saved = await snapshot.ReadL1Async(image);
        await _references.RefuseOverflowAsync(saved);
        int count = (int)Math.Max(needed, saved.Count);
        ClusterRun run = await AllocateAsync(count * 8L);
        try
        {
            await BeginAsync();
        }
        catch
        {
            await UndoAsync(run);
            throw;
        }

        await _references.AddAsync(saved);
        for (int index = 0; index < saved.Count; index++)
        {
            saved[index] &= ~CopiedFlag;
        }

        image.Bitmaps.Mark(0, image.Length);
        image.Tables.NeedBarrier();
        image.Map.L1 = saved.Moved(run.First << _geometry.ClusterBits, count);
        image.Header.ChangeMap(image.Map.L1.Offset, count, size);
        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
        await _references.DropAsync(old);
        await EndAsync();
    }

    internal async IoTask DeleteAsync(string name)
    {
        IReadOnlyList<Snapshot> all = image.Snapshots.Snapshots;
        Snapshot snapshot = all.FirstOrDefault(s => s.Info.Name == name)
            ?? throw ErrnoException.For(Errno.ENOENT, $"Image '{image.File.FileName}' has no snapshot '{name}'");
        RefuseDataFile();
        await SettleAsync();
        PagedTable l1 = await snapshot.ReadL1Async(image);
        List<Snapshot> rest = [.. all.Where(s => !ReferenceEquals(s, snapshot))];
        (ClusterRun run, int length) = await WriteTableAsync(rest);
        await BeginAsync();
        await SwitchAsync(rest, run, length);
        await _references.DropAsync(l1);
        await image.Tables.WriteAllAsync();
        await _references.RefreshCopiedAsync(image.Map.L1);
        await EndAsync();
    }

    /// <summary>Writes the snapshot table anew, with all that this version knows of.</summary>
    internal async IoTask RewriteTableAsync()
    {
        List<Snapshot> all = [.. image.Snapshots.Snapshots.Select(s => s with { IsComplete = true })];
        (ClusterRun run, int length) = await WriteTableAsync(all);
        await SwitchAsync(all, run, length);
        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
    }

    private static string NewId(IReadOnlyList<Snapshot> snapshots)
    {
        ulong last = 0;
        foreach (Snapshot snapshot in snapshots)
        {
            last = ulong.TryParse(snapshot.Info.Id, out ulong id) ? Math.Max(last, id) : last;
        }

        return (last + 1).ToString(System.Globalization.CultureInfo.InvariantCulture);
    }

    private static string Truncate(string name)
    {
        byte[] bytes = NativeText.Encode(name);
        int length = Math.Min(bytes.Length, MaxNameLength);
        while (length < bytes.Length && length > 0 && (bytes[length] & 0xc0) == 0x80)
        {
            length--;
        }

        return NativeText.Decode(bytes.AsSpan(0, length));
    }

    private void RefuseDataFile()
    {
        if (_geometry.HasDataFile)
        {
            throw ErrnoException.For(Errno.ENOTSUP, $"Image '{image.File.FileName}' has an external data file, which internal snapshots do not cover");
        }
    }

    // The file has what the tables in memory say.
    private async IoTask SettleAsync()
    {
        await image.BeginChangeAsync();
        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
    }

    private async IoTask BeginAsync()
    {
        Qcow2Header header = image.Header.Current;
        await image.Header.ChangeFeaturesAsync(header.Incompatible | IncompatibleFeatures.Dirty, header.Compatible, header.Autoclear);
        image.IsBetweenStates = true;
    }

    private async IoTask EndAsync()
    {
        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
        image.IsBetweenStates = false;
        if (!image.Tables.IsMarkedDirty)
        {
            Qcow2Header header = image.Header.Current;
            await image.Header.ChangeFeaturesAsync(header.Incompatible & ~IncompatibleFeatures.Dirty, header.Compatible, header.Autoclear);
        }
    }

    private async IoTask<ClusterRun> AllocateAsync(long bytes) => bytes == 0 ? default : await image.Allocator.AllocateAsync(_geometry.ClustersFor(bytes));

    private IoTask UndoAsync(ClusterRun run) => run.Count == 0 ? IoTask.Completed : image.Allocator.UndoAsync(run);

    private async IoTask<(ClusterRun Run, int Length)> WriteTableAsync(List<Snapshot> snapshots)
    {
        byte[] table = SnapshotTable.Encode(snapshots);
        ClusterRun run = await AllocateAsync(table.Length);
        try
        {
            if (table.Length > 0)
            {
                await image.File.WriteBytesAsync(run.First << _geometry.ClusterBits, table);
            }

            return (run, table.Length);
        }
        catch
        {
            await UndoAsync(run);
            throw;
        }
    }

    // The one write that changes which snapshots there are.
    private async IoTask SwitchAsync(List<Snapshot> snapshots, ClusterRun table, int length)
    {
        long oldOffset = image.Header.Current.SnapshotsOffset;
        int oldLength = image.Snapshots.Length;
        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
        await image.Header.ChangeSnapshotsAsync(snapshots.Count, table.First << _geometry.ClusterBits);
        image.Snapshots = new SnapshotTable(snapshots, length);
        if (oldLength > 0)
        {
            image.Tables.Free(_geometry.ClusterOf(oldOffset), _geometry.ClustersFor(oldLength), discard: true);
        }
    }
}
