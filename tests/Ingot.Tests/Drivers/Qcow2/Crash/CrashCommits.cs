using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Jobs;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>A backing file that is a qcow2 image itself and gets what the disk holds: the guest sees no difference, whenever the power goes.</summary>
internal sealed class CrashCommits(CrashWorkload workload) : ICrashPart
{
    private RecordingNode _disk = null!;

    /// <summary>The backing image.</summary>
    internal Qcow2Node Node { get; private set; } = null!;

    internal async IoTask PrepareAsync(byte[] content, int seed)
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, content.Length, ("cluster_size", $"{512 << (seed % 4)}"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, content);
        await node.CloseAsync();
        _disk = new RecordingNode(new MemoryDisk(disk.Snapshot(), seed), disk.Snapshot(), workload.Log);
        Node = await Qcow2Fixture.OpenAsync(_disk);
    }

    public async IoTask StepAsync()
    {
        int issued = workload.Log.Tick();
        var job = new CommitJob(workload.Node, Node, 0);
        await job.RunAsync();
        await job.EmptyTopAsync();
        workload.History.Flush(issued, workload.Log.Tick());
    }

    /// <summary>Makes states of the backing file.</summary>
    internal CrashSampler Sampler() => new(_disk);

    /// <summary>Opens a state of the backing file, which must be consistent.</summary>
    internal static async IoTask<Qcow2Node> OpenAsync(MemoryDisk disk)
    {
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.ReadWrite | OpenFlags.Check);
        var messages = new List<string>();
        Qcow2CheckResult result = await node.CheckAsync(report: messages.Add);
        Assert.True(result.Corruptions + result.CheckErrors == 0, $"backing file: {string.Join('\n', messages)}");
        return node;
    }

    public IoTask<string?> CheckAsync(Qcow2Node node, MemoryDisk disk, byte[] content, int moment) => new((string?)null);
}
