using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>VM state lies behind the disk, goes into snapshots, and never becomes a part of the disk.</summary>
public class VmStateSnapshotTests
{
    private const int Size = 300_032;
    private const int StateLength = 150_000;

    public static bool HasQemu => Qemu.IsInstalled;

    [Theory]
    [InlineData("4k", "v3", "off", 0)]
    [InlineData("512", "v2", "off", 0)]
    [InlineData("16k", "v3", "on", 9 << 20)]
    [InlineData("64k", "v3", "off", 600 << 20)]
    public void Snapshots_keep_it_and_bring_it_back(string cluster, string version, string extended, int backingLength) => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        MemoryDisk? backing = backingLength == 0 ? null : new MemoryDisk([.. Enumerable.Repeat((byte)0xbb, backingLength)]);
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", cluster), ("compat", version), ("extended_l2", extended));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, backing);
        await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(Size, 1));
        byte[] state = await WriteStateAsync(node, 3);
        Assert.Equal(state, await ReadStateAsync(node, StateLength));
        Assert.DoesNotContain((await ReadStateAsync(node, StateLength + 5000))[StateLength..], b => b != 0);
        await node.CreateSnapshotAsync("one", DateTimeOffset.UnixEpoch, StateLength);
        Assert.DoesNotContain(await ReadStateAsync(node, StateLength), b => b != 0);
        await Model.CheckAsync(node);
        await Qcow2Fixture.WriteAsync(node, 5000, Qcow2Fixture.Pattern(9000, 2));
        byte[] second = await WriteStateAsync(node, 4);
        await node.CreateSnapshotAsync("two", DateTimeOffset.UnixEpoch, StateLength);

        await node.ApplySnapshotAsync("one");
        Assert.Equal(state, await ReadStateAsync(node, StateLength));
        Assert.Equal(Qcow2Fixture.Pattern(Size, 1), await Qcow2Fixture.ReadAsync(node, 0, Size));

        // Parts of shared clusters.
        await WriteStateAsync(node, 100, [1, 2, 3]);
        byte[] changed = await ReadStateAsync(node, StateLength);
        Assert.Equal([.. state[..100], 1, 2, 3, .. state[103..]], changed);
        await Model.CheckAsync(node);
        await node.DeleteSnapshotAsync("one");
        await node.ApplySnapshotAsync("two");
        Assert.Equal(second, await ReadStateAsync(node, StateLength));
        await Model.CheckAsync(node);
        await node.CloseAsync();
    });

    [Fact]
    public void The_disk_grows_over_it() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", "4k"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await WriteStateAsync(node, 3);
        await node.ResizeAsync(20 << 20);
        Assert.DoesNotContain(await Qcow2Fixture.ReadAsync(node, 0, 20 << 20), b => b != 0);
        await Model.CheckAsync(node);
        byte[] state = await WriteStateAsync(node, 5);
        await node.CreateSnapshotAsync("s", DateTimeOffset.UnixEpoch, StateLength);
        await node.ResizeAsync(60 << 20);
        await node.CloseAsync();

        // Read as a snapshot, the disk ends where it did, though the image is larger now.
        Qcow2Node reader = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.None);
        Assert.True(await reader.TryLoadSnapshotAsync(s => s.Name == "s"));
        Assert.DoesNotContain(await Qcow2Fixture.ReadAsync(reader, 0, 60 << 20), b => b != 0);
        await reader.CloseAsync();
        node = await Qcow2Fixture.OpenAsync(disk);
        await node.ApplySnapshotAsync("s");
        Assert.Equal(20 << 20, node.Length);
        Assert.Equal(state, await ReadStateAsync(node, StateLength));
        await Model.CheckAsync(node);
        await node.CloseAsync();
    });

    [Fact(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    public void Qemu_sees_the_same()
    {
        using var directory = new TempDirectory();
        Loop.Run(async () =>
        {
            var disk = new MemoryDisk();
            await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", "4k"));
            Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
            await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(Size, 1));
            await WriteStateAsync(node, 3);
            await node.CreateSnapshotAsync("one", DateTimeOffset.UnixEpoch, StateLength);
            await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(Size, 2));
            await node.CloseAsync();
            System.IO.File.WriteAllBytes(directory["a"], disk.Snapshot());
        });
        Qemu.Check(directory["a"]);
        Assert.Contains("146 KiB", Qemu.Img("snapshot", "-l", directory["a"]));
        Assert.Equal(Qcow2Fixture.Pattern(Size, 1), Qemu.ReadAll(directory, directory["a"], "-l", "one"));
        Qemu.Img("snapshot", "-a", "one", directory["a"]);
        Qemu.Io(directory["a"], "write -P 6 0 4k", "write -b -P 7 0 1k", $"read -b -P 7 0 1k");
        Loop.Run(async () =>
        {
            Qcow2Node node = await Qcow2Fixture.OpenAsync(new MemoryDisk(System.IO.File.ReadAllBytes(directory["a"])));
            byte[] state = Qcow2Fixture.Pattern(StateLength, 3);
            state.AsSpan(0, 1024).Fill(7);
            Assert.Equal(state, await ReadStateAsync(node, StateLength));
            await Model.CheckAsync(node);
            await node.CloseAsync();
        });
    }

    private static async IoTask<byte[]> WriteStateAsync(Qcow2Node node, int seed)
    {
        byte[] state = Qcow2Fixture.Pattern(StateLength, seed);
        await WriteStateAsync(node, 0, state[..70_000]);
        await WriteStateAsync(node, 70_000, state[70_000..]);
        return state;
    }

    private static async IoTask WriteStateAsync(Qcow2Node node, long offset, byte[] bytes)
    {
        using var buffer = new IoBuffer(bytes.Length);
        bytes.CopyTo(buffer.Span);
        await node.WriteVmStateAsync(offset, buffer.Vector);
    }

    private static async IoTask<byte[]> ReadStateAsync(Qcow2Node node, int length)
    {
        using var buffer = new IoBuffer(length);
        await node.ReadVmStateAsync(0, buffer.Vector);
        return buffer.Span.ToArray();
    }
}
