using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Feature bits, backing files, checks and the cost of requests.</summary>
public class Qcow2StateTests
{
    [Fact]
    public void Requests_for_allocated_clusters_allocate_no_memory() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, new byte[512 << 10]);
        using var buffer = new IoBuffer(4096);
        long before = 0;
        for (int i = 0; i < 101_000; i++)
        {
            if (i == 1000)
            {
                before = GC.GetAllocatedBytesForCurrentThread();
            }

            long offset = i * 4096L % (512 << 10);
            await node.ReadAsync(offset, buffer.Vector);
            await node.WriteAsync(offset, buffer.Vector);
            await node.ReadAsync(offset + (512 << 10), buffer.Vector);
        }

        // Less than a byte for each request; a collection that another test causes counts as up to 8 KiB.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 100_000);
    });

    [Fact]
    public void The_dirty_bit_is_set_while_counts_are_lazy_and_leads_to_a_repair() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20, ("lazy_refcounts", "on"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        Assert.Equal(0, IncompatibleBits(disk));
        await Qcow2Fixture.WriteAsync(node, 70_000, Qcow2Fixture.Pattern(100_000, 1));
        await node.FlushAsync();
        Assert.Equal(1, IncompatibleBits(disk));
        var crashed = new MemoryDisk(disk.Snapshot());
        await node.CloseAsync();
        Assert.Equal(0, IncompatibleBits(disk));
        await Model.CheckAsync(await Qcow2Fixture.OpenAsync(disk));

        var graph = new BlockGraph();
        BlockNode reopened = await new Qcow2Driver().OpenAsync(new OpenRequest(graph, new OptionSet(), OpenFlags.ReadWrite, null) { ProbedFile = new ChildNode(crashed, false) });
        Assert.Equal(0, IncompatibleBits(crashed));
        Assert.Equal(Qcow2Fixture.Pattern(100_000, 1), await Qcow2Fixture.ReadAsync(reopened, 70_000, 100_000));
        await Model.CheckAsync((Qcow2Node)reopened);
        await reopened.CloseAsync();
    });

    [Fact]
    public void A_corrupt_image_opens_for_reading_only_until_it_is_repaired() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20);
        byte[] bytes = disk.Snapshot();
        bytes[79] = 2;
        disk = new MemoryDisk(bytes);
        ErrnoException error = await ThrowsAsync(Qcow2Fixture.OpenAsync(disk));
        Assert.EndsWith("is corrupt; cannot be opened read/write", error.Message);
        await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.None);
        Qcow2Node checking = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.ReadWrite | OpenFlags.Check);
        await checking.CheckAsync(Qcow2Repair.All);
        await checking.CloseAsync();
        await Qcow2Fixture.OpenAsync(disk);
    });

    [Theory]
    [InlineData(0x20200UL)]
    [InlineData(0x8000000000010000UL)]
    [InlineData(0x8000000000000000UL)]
    public void Tables_that_point_nowhere_mark_the_image_corrupt_and_harm_nothing(ulong entry) => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, new byte[4096]);
        await node.CloseAsync();
        byte[] bytes = disk.Snapshot();
        long l1 = BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan(40));
        long l2 = BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan((int)l1)) & long.MaxValue;
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan((int)l2), entry | (entry == 1UL << 63 ? 0x200UL : 0));
        disk = new MemoryDisk(bytes);
        node = await Qcow2Fixture.OpenAsync(disk);
        Assert.Equal(Errno.EIO, await Qcow2Fixture.WriteAsync(node, 0, new byte[10]).Status());
        Assert.Equal(2, IncompatibleBits(disk));
    });

    [Fact]
    public void Bitmaps_lose_their_autoclear_bit_at_the_first_change_only() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20);
        byte[] bytes = disk.Snapshot();
        bytes[95] = 0x05;
        disk = new MemoryDisk(bytes);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.ReadAsync(node, 0, 100);
        await node.CloseAsync();
        Assert.Equal(5, disk.Snapshot()[95]);
        node = await Qcow2Fixture.OpenAsync(disk);
        await node.DiscardAsync(0, 1 << 20);
        await node.CloseAsync();
        Assert.Equal(0, disk.Snapshot()[95]);
    });

    [Fact]
    public void A_chain_that_comes_back_to_itself_is_refused() => Loop.Run(async () =>
    {
        using var directory = new TempDirectory();
        foreach ((string name, string backing) in ((string, string)[])[("a", "b"), ("b", "c"), ("c", "b")])
        {
            await new Qcow2Driver().CreateAsync(new CreateRequest(
                new BlockGraph(), directory[name], 1 << 20, Qcow2Fixture.Options(("backing_file", backing), ("backing_fmt", "qcow2"))));
        }

        ErrnoException error = await ThrowsAsync(new BlockGraph().OpenFileAsync(directory["a"], null, OpenFlags.None));
        Assert.Contains("creates an infinite loop", error.Message);
        BlockNode alone = await new BlockGraph().OpenFileAsync(directory["a"], null, OpenFlags.NoBacking);
        Assert.Null(alone.Backing);
        await alone.CloseAsync();
    });

    [Fact]
    public void A_missing_backing_file_is_named() => Loop.Run(async () =>
    {
        using var directory = new TempDirectory();
        await new Qcow2Driver().CreateAsync(new CreateRequest(new BlockGraph(), directory["a"], 1 << 20, Qcow2Fixture.Options(("backing_file", "nowhere.raw"), ("backing_fmt", "raw"))));
        ErrnoException error = await ThrowsAsync(new BlockGraph().OpenFileAsync(directory["a"], null, OpenFlags.ReadWrite));
        Assert.Equal(Errno.ENOENT, error.Errno);
        Assert.Contains(directory["nowhere.raw"], error.Message);

        // The failure left nothing open: the image can be locked again.
        BlockNode node = await new BlockGraph().OpenFileAsync(directory["a"], null, OpenFlags.ReadWrite | OpenFlags.NoBacking);
        await node.CloseAsync();
    });

    [Fact]
    public void Leaks_and_uncounted_clusters_are_found_and_repaired() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 4 << 20, ("cluster_size", "4k"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        byte[] data = Qcow2Fixture.Pattern(1 << 20, 4);
        await Qcow2Fixture.WriteAsync(node, 0, data);
        await node.CloseAsync();
        byte[] bytes = disk.Snapshot();

        // Cluster 20 is in use and not counted any more, cluster 21 is counted twice; so the copied flags of both are wrong too.
        const int Block = 2 * 4096;
        bytes.AsSpan(Block + 40, 2).Clear();
        bytes[Block + 43] = 2;
        disk = new MemoryDisk(bytes);
        node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.ReadWrite | OpenFlags.Check);
        var messages = new List<string>();
        Qcow2CheckResult result = await node.CheckAsync(report: messages.Add);
        Assert.Equal((3, 1), (result.Corruptions, result.Leaks));
        Assert.Contains("ERROR cluster 20 refcount=0 reference=1", messages);
        Assert.Contains("Leaked cluster 21 refcount=2 reference=1", messages);
        Qcow2CheckResult repaired = await node.CheckAsync(Qcow2Repair.All);
        Assert.Equal((0, 0), (repaired.Corruptions, repaired.Leaks));
        Assert.Equal((256L, 1024L), (repaired.AllocatedClusters, repaired.TotalClusters));
        Assert.True(repaired.CorruptionsFixed > 0);
        await Model.CheckAsync(node);
        Assert.Equal(data, await Qcow2Fixture.ReadAsync(node, 0, data.Length));
        await node.CloseAsync();
    });

    [Fact]
    public void A_lost_refcount_structure_is_rebuilt() => Loop.Run(async () =>
    {
        foreach (string clusterSize in (string[])["512", "4k", "64k"])
        {
            var disk = new MemoryDisk();
            await Qcow2Fixture.CreateAsync(disk, 4 << 20, ("cluster_size", clusterSize));
            Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
            byte[] data = Qcow2Fixture.Pattern(3 << 20, 4);
            await Qcow2Fixture.WriteAsync(node, 0, data);
            await node.CloseAsync();
            byte[] bytes = disk.Snapshot();
            long table = BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan(48));
            bytes.AsSpan((int)table, 512).Fill(0x11);
            disk = new MemoryDisk(bytes);
            node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.ReadWrite | OpenFlags.Check);
            Qcow2CheckResult repaired = await node.CheckAsync(Qcow2Repair.All);
            Assert.Equal(0, repaired.Corruptions + repaired.Leaks + repaired.CheckErrors);
            await Model.CheckAsync(node);
            await Qcow2Fixture.WriteAsync(node, 3 << 20, data.AsSpan(0, 1 << 20).ToArray());
            Assert.Equal(data, await Qcow2Fixture.ReadAsync(node, 0, data.Length));
            await node.CloseAsync();
            await Model.CheckAsync(await Qcow2Fixture.OpenAsync(disk));
        }
    });

    [Fact]
    public void What_is_discarded_is_used_again() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 16 << 20);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        for (int i = 0; i < 20; i++)
        {
            await Qcow2Fixture.WriteAsync(node, (i % 4) << 20, Qcow2Fixture.Pattern(1 << 20, i));
            await node.DiscardAsync((i % 4) << 20, 1 << 20);
            await node.FlushAsync();
        }

        Assert.InRange(disk.Length, 0, 3 << 20);
        await node.CloseAsync();
    });

    private static int IncompatibleBits(MemoryDisk disk) => disk.Snapshot()[79];

    private static async IoTask<ErrnoException> ThrowsAsync<T>(IoTask<T> task)
    {
        try
        {
            await task;
        }
        catch (ErrnoException e)
        {
            return e;
        }

        throw new Xunit.Sdk.XunitException("Nothing was thrown.");
    }

    [Theory]
    [InlineData("on")]
    [InlineData("off")]
    public void An_emptied_image_gives_up_all_that_it_stored(string extended) => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20, ("cluster_size", "16k"), ("extended_l2", extended));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 40_000, Qcow2Fixture.Pattern(200_000, 1));
        await node.EmptyAsync();
        await Model.CheckAsync(node);
        Assert.DoesNotContain(await Qcow2Fixture.ReadAsync(node, 0, 1 << 20), b => b != 0);
        await node.CloseAsync();
    });
}
