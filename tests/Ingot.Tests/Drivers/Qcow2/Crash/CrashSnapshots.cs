using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;

namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>Internal snapshots: a crash keeps each or has none of it, and what one holds never changes.</summary>
internal sealed class CrashSnapshots(CrashWorkload workload) : ICrashPart
{
    private const int Most = 4;

    private readonly List<Saved> _all = [];

    private List<Saved> Live => [.. _all.Where(s => s.DeleteIssued == int.MaxValue)];

    /// <summary>True when there is one now.</summary>
    internal bool HasAny => Live.Count > 0;

    public async IoTask StepAsync()
    {
        List<Saved> live = Live;
        switch (workload.Extra.Next(4))
        {
            case 0 when live.Count > 0:
                await ApplyAsync(live[workload.Extra.Next(live.Count)]);
                break;
            case 1 when live.Count > 0:
                await DeleteAsync(live[workload.Extra.Next(live.Count)]);
                break;
            default:
                await (live.Count < Most ? CreateAsync() : DeleteAsync(live[0]));
                break;
        }
    }

    public async IoTask<string?> CheckAsync(Qcow2Node node, MemoryDisk disk, byte[] content, int moment)
    {
        IReadOnlyList<SnapshotInfo> found = [.. node.Image.Snapshots.Snapshots.Select(s => s.Info)];
        if (_all.Find(s => s.CreateCompleted <= moment && s.DeleteIssued > moment && found.All(f => f.Name != s.Name)) is { } missing)
        {
            return $"snapshot '{missing.Name}' is missing";
        }

        foreach (SnapshotInfo info in found)
        {
            Saved? saved = _all.Find(s => s.Name == info.Name && s.CreateIssued <= moment && s.DeleteCompleted > moment);
            if (saved is null || saved.Content.Length != info.DiskSize)
            {
                return $"there is a snapshot '{info.Name}' of {info.DiskSize} bytes";
            }

            Qcow2Node reader = await workload.OpenAsync(disk, null, OpenFlags.None);
            await reader.TryLoadSnapshotAsync(s => s.Id == info.Id);
            int length = (int)Math.Min(reader.Length, saved.Content.Length);
            byte[] bytes = await Qcow2Fixture.ReadAsync(reader, 0, length);
            await reader.CloseAsync();
            int same = bytes.AsSpan().CommonPrefixLength(saved.Content);
            if (same < length)
            {
                return $"snapshot '{info.Name}' is not what it was, at {same}";
            }
        }

        return null;
    }

    private async IoTask CreateAsync()
    {
        byte[] content = await Qcow2Fixture.ReadAsync(workload.Node, 0, (int)workload.Node.Length);
        int issued = workload.Log.Tick();
        var saved = new Saved($"s{_all.Count}", issued, content);
        _all.Add(saved);
        await workload.Node.CreateSnapshotAsync(saved.Name, DateTimeOffset.UnixEpoch);
        saved.CreateCompleted = workload.Log.Tick();
        workload.History.Flush(issued, saved.CreateCompleted);
    }

    private async IoTask ApplyAsync(Saved saved)
    {
        if (saved.Content.Length != workload.Node.Length && !workload.CanResizeWithSnapshot)
        {
            return;
        }

        int issued = workload.Log.Tick();
        int now = (int)(Math.Max(workload.Node.Length, saved.Content.Length) / SectorHistory.SectorLength);
        for (int sector = 0; sector < now; sector++)
        {
            int at = sector * SectorHistory.SectorLength;
            workload.History.Write(sector, [at < saved.Content.Length ? BitConverter.ToUInt64(saved.Content, at) : 0], issued);
        }

        bool resizes = saved.Content.Length != workload.Node.Length;
        await workload.Node.ApplySnapshotAsync(saved.Name);
        int completed = workload.Log.Tick();
        workload.History.Complete(0, now, completed);
        workload.History.Flush(completed, completed);
        if (resizes)
        {
            workload.History.Resize(saved.Content.Length, issued, completed);
        }
    }

    private async IoTask DeleteAsync(Saved saved)
    {
        saved.DeleteIssued = workload.Log.Tick();
        await workload.Node.DeleteSnapshotAsync(saved.Name);
        saved.DeleteCompleted = workload.Log.Tick();
        workload.History.Flush(saved.DeleteIssued, saved.DeleteCompleted);
    }

    private sealed class Saved(string name, int createIssued, byte[] content)
    {
        internal string Name => name;

        internal int CreateIssued => createIssued;

        internal byte[] Content => content;

        internal int CreateCompleted { get; set; } = int.MaxValue;

        internal int DeleteIssued { get; set; } = int.MaxValue;

        internal int DeleteCompleted { get; set; } = int.MaxValue;
    }
}
