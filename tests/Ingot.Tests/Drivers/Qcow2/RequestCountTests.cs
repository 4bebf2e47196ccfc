using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>What reading and writing in sequence costs in requests to the file below.</summary>
public class RequestCountTests
{
    private const int Size = 16 << 20;
    private const int Cluster = 64 << 10;

    [Theory]
    [InlineData(4 << 10)]
    [InlineData(64 << 10)]
    [InlineData(1 << 20)]
    public void A_new_image_takes_one_write_a_request_and_no_read(int length) => Loop.Run(async () =>
    {
        (Qcow2Node node, List<(DiskOperation Kind, long Offset, long Length)> requests) = await NewAsync(null);
        await WriteAllAsync(node, length);
        Assert.DoesNotContain(requests, r => r.Kind == DiskOperation.Read && r.Offset >= FirstData(node));
        Assert.Equal(Size / length, requests.Count(r => r.Kind == DiskOperation.Write && r.Length == length && r.Offset >= FirstData(node)));

        // What the first change takes (the counts are looked through for the end of the image in 16 pieces), one L2 table, and what the flush writes: no more
        // for more clusters or requests.
        Assert.InRange(requests.Count - (Size / length), 0, 24);

        // What was written in sequence lies in sequence.
        requests.Clear();
        await Qcow2Fixture.ReadAsync(node, 0, Size);
        Assert.Equal((DiskOperation.Read, FirstData(node), Size), Assert.Single(requests));
        await node.CloseAsync();
    });

    [Theory]
    [InlineData(4 << 10)]
    [InlineData(64 << 10)]
    [InlineData(1 << 20)]
    public void Overwriting_takes_one_write_a_request(int length) => Loop.Run(async () =>
    {
        (Qcow2Node node, List<(DiskOperation Kind, long Offset, long Length)> requests) = await NewAsync(null);
        await WriteAllAsync(node, 1 << 20);
        requests.Clear();
        await WriteAllAsync(node, length);
        Assert.Equal(Size / length, requests.Count(r => r.Kind == DiskOperation.Write));
        Assert.InRange(requests.Count - (Size / length), 0, 1);
        await node.CloseAsync();
    });

    [Theory]
    [InlineData(64 << 10)]
    [InlineData(1 << 20)]
    public void Whole_clusters_over_a_backing_file_or_a_snapshot_are_written_without_reading(int length) => Loop.Run(async () =>
    {
        int backingReads = 0;
        var backing = new MemoryDisk(Qcow2Fixture.Pattern(Size, 1)) { Observer = (kind, _, _) => backingReads += kind == DiskOperation.Read ? 1 : 0 };
        (Qcow2Node node, List<(DiskOperation Kind, long Offset, long Length)> requests) = await NewAsync(backing);
        for (int round = 0; round < 2; round++)
        {
            await WriteAllAsync(node, length);
            Assert.DoesNotContain(requests, r => r.Kind == DiskOperation.Read && r.Offset >= FirstData(node) && r.Length > 4096);
            Assert.Equal(Size / length, requests.Count(r => r.Kind == DiskOperation.Write && r.Length == length && r.Offset > TableOffset(node)));
            await node.CreateSnapshotAsync("s", DateTimeOffset.UnixEpoch);
            requests.Clear();
        }

        Assert.Equal(0, backingReads);
        await node.CloseAsync();
    });

    [Fact]
    public void Parts_of_a_cluster_over_a_backing_file_cost_one_copy_a_cluster() => Loop.Run(async () =>
    {
        int backingReads = 0;
        var backing = new MemoryDisk(Qcow2Fixture.Pattern(Size, 1)) { Observer = (kind, _, _) => backingReads += kind == DiskOperation.Read ? 1 : 0 };
        (Qcow2Node node, List<(DiskOperation Kind, long Offset, long Length)> requests) = await NewAsync(backing);
        await WriteAllAsync(node, 4096);
        Assert.Equal(Size / Cluster, backingReads);
        Assert.Equal(Size / Cluster, requests.Count(r => r.Kind == DiskOperation.Write && r.Length == Cluster && r.Offset >= FirstData(node)));
        Assert.Equal(Size / Cluster * 15, requests.Count(r => r.Kind == DiskOperation.Write && r.Length == 4096 && r.Offset >= FirstData(node)));
        await node.CloseAsync();
    });

    private static async IoTask<(Qcow2Node Node, List<(DiskOperation Kind, long Offset, long Length)> Requests)> NewAsync(MemoryDisk? backing)
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", $"{Cluster}"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, backing);
        var requests = new List<(DiskOperation Kind, long Offset, long Length)>();
        disk.Observer = (kind, offset, length) => requests.Add((kind, offset, length));
        return (node, requests);
    }

    private static async IoTask WriteAllAsync(Qcow2Node node, int length)
    {
        using var buffer = new IoBuffer(length);
        buffer.Span.Fill(0x5a);
        for (long offset = 0; offset < Size; offset += length)
        {
            await node.WriteAsync(offset, buffer.Vector);
        }

        await node.FlushAsync();
    }

    // Where the one L2 table lies: below the clusters that it names.
    private static long TableOffset(Qcow2Node node) => (long)(node.Image.Map.L1[0] & Qcow2Constants.OffsetMask);

    // Where the guest's first cluster lies.
    private static long FirstData(Qcow2Node node) => node.Image.Map.TryMap(0, 1, out Mapping mapping) ? mapping.HostOffset : throw new InvalidOperationException("Not in the cache.");
}
