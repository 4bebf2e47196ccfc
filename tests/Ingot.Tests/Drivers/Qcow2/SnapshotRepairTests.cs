using System.Buffers.Binary;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Snapshot tables whose last entry is incomplete or too large: refused or named, and repaired by a check.</summary>
public class SnapshotRepairTests
{
    private const int OffsetField = 64;
    private const int ExtraField = 36;
    private const int EntryLength = 72; // 40 fixed, 24 extra, an id and a name of one byte, padding
    private const OpenFlags Checks = OpenFlags.ReadWrite | OpenFlags.Check;

    [Fact]
    public void An_incomplete_entry_is_completed() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk(await MakeAsync(lastExtra: 8));
        Assert.Equal((1, 0), await CheckAsync(disk, Qcow2Repair.None));
        Assert.Equal((0, 1), await CheckAsync(disk, Qcow2Repair.All));
        Assert.Equal((0, 0), await CheckAsync(disk, Qcow2Repair.None));
        Assert.Equal(["a", "b"], await NamesAsync(disk));
    });

    [Fact]
    public void Too_much_extra_data_is_refused_and_cut() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk(await MakeAsync(lastExtra: 2000));
        Assert.StartsWith("Too much extra metadata in snapshot table entry 2\n", await RefusalAsync(() => OpenAsync(disk)), StringComparison.Ordinal);
        Assert.Equal("Check failed: File too large", await RefusalAsync(async () => await CheckAsync(disk, Qcow2Repair.None)));
        Assert.Equal((0, 1), await CheckAsync(disk, Qcow2Repair.All));
        Assert.Equal((0, 0), await CheckAsync(disk, Qcow2Repair.None));
        Assert.Equal(["a", "b"], await NamesAsync(disk));
    });

    private static async IoTask<byte[]> MakeAsync(uint lastExtra)
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20, ("cluster_size", "4096"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        foreach (string name in (string[])["a", "b", "c"])
        {
            await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(5000, name[0]));
            await node.CreateSnapshotAsync(name, default);
        }

        await node.CloseAsync();
        byte[] bytes = disk.Snapshot();
        int table = (int)BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(OffsetField));
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(table + (2 * EntryLength) + ExtraField), lastExtra);
        return bytes;
    }

    private static async IoTask<(long Left, long Fixed)> CheckAsync(MemoryDisk disk, Qcow2Repair repair)
    {
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, flags: Checks);
        try
        {
            Qcow2CheckResult result = await node.CheckAsync(repair);
            return (result.Corruptions, result.CorruptionsFixed);
        }
        finally
        {
            await node.CloseAsync();
        }
    }

    // Of the last one the id and the name lay elsewhere.
    private static async IoTask<IEnumerable<string>> NamesAsync(MemoryDisk disk)
    {
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        Assert.Equal(3, (await node.GetInfoAsync()).Snapshots.Count);
        IEnumerable<string> names = (await node.GetInfoAsync()).Snapshots.Take(2).Select(s => s.Name);
        await node.CloseAsync();
        return names;
    }

    private static async IoTask OpenAsync(MemoryDisk disk) => await (await Qcow2Fixture.OpenAsync(disk)).CloseAsync();

    private static async IoTask<string> RefusalAsync(Func<IoTask> act)
    {
        try
        {
            await act();
        }
        catch (ErrnoException e)
        {
            return e.Message;
        }

        return "";
    }
}
