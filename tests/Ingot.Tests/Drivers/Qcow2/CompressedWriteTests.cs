using Ingot.Block;
using Ingot.Drivers.Qcow2;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Clusters that are stored compressed.</summary>
public class CompressedWriteTests
{
    [Theory]
    [InlineData("zlib", 512)]
    [InlineData("zstd", 512)]
    [InlineData("zlib", (5 << 16) + 3584)]
    [InlineData("zstd", (40 << 16) + 1)]
    public void A_disk_that_ends_within_a_cluster_is_compressed_to_its_end(string method, int size) => Loop.Run(async () =>
    {
        var disk = new MemoryDisk(seed: 1);
        await Qcow2Fixture.CreateAsync(disk, size, ("compression_type", method));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        byte[] bytes = Compressible((int)node.Length);
        for (int round = 0; round < 2; round++)
        {
            await Qcow2Fixture.WriteAsync(node, 0, bytes, WriteFlags.Compressed);
            Assert.Equal(bytes, await Qcow2Fixture.ReadAsync(node, 0, bytes.Length));
            Array.Reverse(bytes);
        }

        Array.Reverse(bytes);
        await node.CloseAsync();
        node = await Qcow2Fixture.OpenAsync(disk);
        Assert.Equal(bytes, await Qcow2Fixture.ReadAsync(node, 0, bytes.Length));
        Assert.True((await node.GetExtentAsync(0, node.Length)).Flags.HasFlag(ExtentFlags.Compressed));
        await Model.CheckAsync(node);
        await node.CloseAsync();
    });

    [Theory]
    [InlineData("zlib")]
    [InlineData("zstd")]
    public void What_can_not_be_made_smaller_is_stored_as_it_is(string method) => Loop.Run(async () =>
    {
        const int Size = 4 << 16;
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size, ("compression_type", method));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        byte[] bytes = Qcow2Fixture.Pattern(Size, 1);
        await Qcow2Fixture.WriteAsync(node, 0, bytes, WriteFlags.Compressed);
        Assert.Equal(bytes, await Qcow2Fixture.ReadAsync(node, 0, Size));
        Assert.False((await node.GetExtentAsync(0, Size)).Flags.HasFlag(ExtentFlags.Compressed));
        await node.CloseAsync();
    });

    [Fact]
    public void A_failure_leaves_nothing_under_way() => Loop.Run(async () =>
    {
        const int Size = 20 << 16;
        var disk = new MemoryDisk(seed: 1);
        await Qcow2Fixture.CreateAsync(disk, Size);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        byte[] bytes = Compressible(Size);
        await Qcow2Fixture.WriteAsync(node, 0, bytes[..(1 << 16)], WriteFlags.Compressed);
        disk.FailAt = disk.Operations + 5;
        disk.KeepsFailing = true;
        Assert.Equal(Errno.EIO, await Qcow2Fixture.WriteAsync(node, 0, bytes, WriteFlags.Compressed).Status());
        disk.FailAt = 0;
        await Qcow2Fixture.WriteAsync(node, 0, bytes, WriteFlags.Compressed);
        Assert.Equal(bytes, await Qcow2Fixture.ReadAsync(node, 0, Size));
        await node.CloseAsync();
    });

    private static byte[] Compressible(int length) => [.. Enumerable.Range(0, length).Select(i => (byte)((i >> 7) % 251))];
}
