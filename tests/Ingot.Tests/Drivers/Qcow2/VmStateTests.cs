using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>A virtual machine's state beside the disk, and what a resize makes of it.</summary>
public class VmStateTests
{
    private const int Size = 256 << 10;

    [Fact]
    public void State_lies_beside_the_disk_and_outlives_closing() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        byte[] state = await MakeAsync(disk);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        Assert.Equal(state, await ReadStateAsync(node, 0, state.Length));
        Assert.Equal(new byte[1000], await ReadStateAsync(node, 10 << 20, 1000));
        Assert.Equal(Qcow2Fixture.Pattern(Size, 1), await Qcow2Fixture.ReadAsync(node, 0, Size));
        await node.CloseAsync();
        await Model.CheckAsync(await Qcow2Fixture.OpenAsync(disk));
    });

    [Fact]
    public void State_is_written_piece_by_piece() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await MakeAsync(disk);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, new MemoryDisk(Qcow2Fixture.Pattern(1 << 20, 5)));
        byte[] piece = Qcow2Fixture.Pattern(700, 3);
        await WriteStateAsync(node, 2_000_123, piece);
        byte[] around = await ReadStateAsync(node, 2_000_000, 2000);
        Assert.Equal([.. new byte[123], .. piece, .. new byte[2000 - 823]], around);
        await node.CloseAsync();
        await Model.CheckAsync(await Qcow2Fixture.OpenAsync(disk));
    });

    [Fact]
    public void A_snapshot_keeps_the_state_that_is_overwritten_in_part() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        byte[] state = await MakeAsync(disk);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await node.CreateSnapshotAsync("s", DateTimeOffset.UnixEpoch);
        await WriteStateAsync(node, 100, new byte[10]);
        state.AsSpan(100, 10).Clear();
        Assert.Equal(state, await ReadStateAsync(node, 0, state.Length));
        await node.ApplySnapshotAsync("s");
        Assert.NotEqual(new byte[10], await ReadStateAsync(node, 100, 10));
        await node.CloseAsync();
        await Model.CheckAsync(await Qcow2Fixture.OpenAsync(disk));
    });

    [Theory]
    [InlineData(Size * 8)]
    [InlineData(Size / 2)]
    public void A_disk_that_changes_its_size_loses_the_state(long size) => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await MakeAsync(disk);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await node.ResizeAsync(size);
        int kept = (int)Math.Min(size, Size);
        Assert.Equal(Qcow2Fixture.Pattern(Size, 1).AsSpan(0, kept).ToArray(), await Qcow2Fixture.ReadAsync(node, 0, kept));
        Assert.Equal(new byte[size - kept], await Qcow2Fixture.ReadAsync(node, kept, (int)size - kept));
        Assert.Equal(new byte[1000], await ReadStateAsync(node, 0, 1000));
        await node.CloseAsync();
        await Model.CheckAsync(await Qcow2Fixture.OpenAsync(disk));
    });

    [Fact]
    public void There_is_an_end_to_it() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        Assert.Equal(Errno.EFBIG, await StatusAsync(node, long.MaxValue - 10));
        Assert.Equal(Errno.EFBIG, await StatusAsync(node, -1));
        await node.CloseAsync();
    });

    [Fact]
    public void An_emptied_image_is_laid_out_as_a_new_one() => Loop.Run(async () =>
    {
        var (disk, fresh) = (new MemoryDisk(), new MemoryDisk());
        await MakeAsync(disk, 0);
        await Qcow2Fixture.CreateAsync(fresh, Size, ("cluster_size", "1k"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await node.EmptyAsync();
        Assert.Equal(new byte[Size], await Qcow2Fixture.ReadAsync(node, 0, Size));
        byte[] again = Qcow2Fixture.Pattern(5000, 9);
        await Qcow2Fixture.WriteAsync(node, 777, again);
        Assert.Equal(again, await Qcow2Fixture.ReadAsync(node, 777, again.Length));
        await node.CloseAsync();
        await Model.CheckAsync(await Qcow2Fixture.OpenAsync(disk));
        node = await Qcow2Fixture.OpenAsync(disk);
        await node.EmptyAsync();
        await node.CloseAsync();
        byte[] expected = fresh.Snapshot();
        byte[] actual = disk.Snapshot();
        Assert.Equal(expected.AsSpan(72).ToArray(), actual.AsSpan(72, expected.Length - 72).ToArray());
        Assert.True(actual.Length - expected.Length < 1024 && actual.AsSpan(expected.Length).IndexOfAnyExcept((byte)0) < 0);
    });

    private static async IoTask<byte[]> MakeAsync(MemoryDisk disk, int stateLength = 300_000)
    {
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", "1k"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(Size, 1));
        byte[] state = Qcow2Fixture.Pattern(stateLength, 2);
        if (stateLength > 0)
        {
            await WriteStateAsync(node, 0, state);
        }

        await node.CloseAsync();
        return state;
    }

    private static async IoTask<Errno> StatusAsync(Qcow2Node node, long offset)
    {
        using var buffer = new IoBuffer(512);
        return await node.WriteVmStateAsync(offset, buffer.Vector).Status();
    }

    private static async IoTask WriteStateAsync(Qcow2Node node, long offset, byte[] bytes)
    {
        using var buffer = new IoBuffer(bytes.Length);
        bytes.CopyTo(buffer.Span);
        await node.WriteVmStateAsync(offset, buffer.Slice(0, bytes.Length));
    }

    private static async IoTask<byte[]> ReadStateAsync(Qcow2Node node, long offset, int length)
    {
        using var buffer = new IoBuffer(length);
        buffer.Vector.Fill(0x99);
        await node.ReadVmStateAsync(offset, buffer.Slice(0, length));
        return buffer.Span[..length].ToArray();
    }
}
