using Ingot.Drivers;
using Ingot.Drivers.VhostUserBlk;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Ingot.Tests.Exports;
using Ingot.Virtio;
using Ingot.Virtio.Memory;
using Ingot.Virtio.VhostUser;
using Xunit;
using ExportOptions = Ingot.Exports.VhostUser.VhostUserBlkOptions;

namespace Ingot.Tests.Drivers.VhostUserBlk;

/// <summary>Our client and our server with every layout of the rings: what they agree on, and that it carries data.</summary>
public sealed class RingFormatTests
{
    private const int Size = 1 << 20;
    private const ulong Formats = VirtioFeatures.RingPacked | VirtioFeatures.EmbeddedRequests;

    public static TheoryData<bool, bool, bool, bool> Offers => [.. Enumerable.Range(0, 16).Select(i => new TheoryDataRow<bool, bool, bool, bool>((i & 1) != 0, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0))];

    public static TheoryData<bool, bool> Layouts => new() { { false, false }, { true, false }, { false, true }, { true, true } };

    [Theory]
    [MemberData(nameof(Offers))]
    public void What_either_side_lacks_is_not_used(bool serverPacked, bool serverEmbedded, bool packed, bool embedded)
        => Run(serverPacked, serverEmbedded, async (fixture, path) =>
        {
            VhostUserBlkNode node = await OpenAsync(path, packed, embedded);
            ulong expected = (serverPacked && packed ? VirtioFeatures.RingPacked : 0) | (serverEmbedded && embedded ? VirtioFeatures.EmbeddedRequests : 0);
            Assert.Equal(expected, node.NegotiatedFeatures & Formats);
            Assert.Equal("disk0", await node.GetSerialAsync());
            await node.CloseAsync();
        });

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Data_arrives_as_it_was_sent(bool packed, bool embedded)
        => Run(packed, embedded, async (fixture, path) =>
        {
            VhostUserBlkNode node = await OpenAsync(path, packed, embedded, queues: 2);
            using var shared = new SharedMemoryRegion("test", 64 << 10);
            await node.RegisterAsync(shared);
            using var local = new IoBuffer(64 << 10);
            var model = new byte[Size];
            var random = new Random(1);
            for (int i = 0; i < 400; i++)
            {
                IoVector buffer = random.Next(2) == 0 ? local.Vector : shared.Vector;
                await StepAsync(node, model, buffer, random);
            }

            await node.FlushAsync();
            Assert.True(model.AsSpan().SequenceEqual(((ArrayNode)fixture.Node).Data));
            await node.CloseAsync();
            Assert.Empty(fixture.Warnings);
        });

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Many_requests_of_several_pieces_are_in_flight(bool packed, bool embedded)
        => Run(packed, embedded, async (fixture, path) =>
        {
            VhostUserBlkNode node = await OpenAsync(path, packed, embedded, size: 16);
            using var shared = new SharedMemoryRegion("test", Size);
            await node.RegisterAsync(shared);
            new Random(2).NextBytes(shared.Vector.SingleSpan);
            byte[] expected = shared.Vector.SingleSpan.ToArray();
            IoTask[] writes = [.. Enumerable.Range(0, Size / 8192).Select(i => node.WriteAsync(i * 8192L, shared.Slice(i * 8192, 8192)))];
            foreach (IoTask write in writes)
            {
                await write;
            }

            Assert.True(expected.AsSpan().SequenceEqual(((ArrayNode)fixture.Node).Data));
            await node.CloseAsync();
        });

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Errors_arrive(bool packed, bool embedded)
        => Run(packed, embedded, async (fixture, path) =>
        {
            VhostUserBlkNode node = await OpenAsync(path, packed, embedded);
            using var data = new IoBuffer(4096);
            ((ArrayNode)fixture.Node).NextError = Errno.EIO;
            Assert.Equal(Errno.EIO, await node.WriteAsync(0, data.Vector).Status());
            ((ArrayNode)fixture.Node).NextError = Errno.EOPNOTSUPP;
            Assert.Equal(Errno.ENOTSUP, await node.WriteAsync(0, data.Vector).Status());
            await node.WriteAsync(0, data.Vector);
            await node.CloseAsync();
        });

    [Theory]
    [MemberData(nameof(Layouts))]
    public void A_client_goes_on_with_the_next_server(bool packed, bool embedded)
        => Run(packed, embedded, async (fixture, path) =>
        {
            VhostUserBlkNode node = await OpenAsync(path, packed, embedded);
            using var data = new IoBuffer(4096);
            data.Span.Fill(7);
            await node.WriteAsync(4096, data.Vector);
            await fixture.Export.StopAsync();
            Assert.Equal(Errno.ENOTCONN, await node.ReadAsync(4096, data.Vector).Status());
            string other = path + "2";
            File.CreateSymbolicLink(path, other);
            Ingot.Exports.VhostUser.VhostUserBlkExport successor = Ingot.Exports.VhostUser.VhostUserBlkExport.Start(
                new ExportOptions { Id = "disk0", Path = other, Writable = true, Packed = !packed, Embedded = embedded }, fixture.Node, []);
            await node.ReconnectAsync();
            Assert.Equal(embedded ? VirtioFeatures.EmbeddedRequests : 0, node.NegotiatedFeatures & Formats);
            data.Span.Clear();
            await node.ReadAsync(4096, data.Vector);
            Assert.False(data.Span.ContainsAnyExcept((byte)7));
            await node.CloseAsync();
            await successor.StopAsync();
        });

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Client_and_server_allocate_nothing_for_a_request(bool packed, bool embedded)
        => ExportFixture.Run(
            new ConstantNode(),
            async fixture =>
            {
                VhostUserBlkNode node = await OpenAsync(fixture.SocketPath, packed, embedded);
                using var data = new IoBuffer(4096);
                await ReadManyAsync(node, data, 2_000);
                long before = GC.GetAllocatedBytesForCurrentThread();
                await ReadManyAsync(node, data, 100_000);
                long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
                await node.CloseAsync();
                Assert.True(allocated < 16_384, $"{allocated} bytes in 100000 requests"); // a collection ends this thread's allocation buffer of 8 KiB early, which counts
            },
            options => options with { Packed = packed, Embedded = embedded });

    [Fact]
    public void One_half_of_the_experiment_is_refused() => Run(true, true, async (fixture, _) =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.NegotiateAsync(VirtioFeatures.Version1 | VirtioFeatures.EmbeddedStatus);
        Assert.Null(await guest.ReceiveAsync());
        Assert.Contains("EMBEDDED_HEADER and EMBEDDED_STATUS go together", Assert.Single(fixture.Warnings));
    });

    [Fact]
    public void Notes_of_packed_rings_with_embedded_headers_are_refused() => Run(true, true, async (fixture, _) =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.NegotiateAsync(VirtioFeatures.Version1 | Formats);
        await guest.SendAsync(new VhostUserMessage(VhostUserRequest.GetInflightFd).Add(new VhostUserInflight(0, 0, 1, 128)));
        Assert.Null(await guest.ReceiveAsync());
        Assert.Contains("GET_INFLIGHT_FD: packed rings with embedded headers can't have in-flight notes", Assert.Single(fixture.Warnings));
    });

    private static async IoTask ReadManyAsync(VhostUserBlkNode node, IoBuffer data, int count)
    {
        for (int i = 0; i < count; i++)
        {
            await node.ReadAsync(0, data.Vector);
        }
    }

    private static async IoTask StepAsync(VhostUserBlkNode node, byte[] model, IoVector buffer, Random random)
    {
        int length = random.Next(1, (int)buffer.Length);
        int offset = random.Next(model.Length - length);
        IoVector data = buffer.Slice(0, length);
        switch (random.Next(4))
        {
            case 0:
                random.NextBytes(data.SingleSpan);
                data.CopyTo(model.AsSpan(offset, length));
                await node.WriteAsync(offset, data);
                break;
            case 1:
                model.AsSpan(offset, length).Clear();
                await node.WriteZeroesAsync(offset, length);
                break;
            default:
                await node.ReadAsync(offset, data);
                Assert.True(data.SingleSpan.SequenceEqual(model.AsSpan(offset, length)));
                break;
        }
    }

    private static IoTask<VhostUserBlkNode> OpenAsync(string path, bool packed, bool embedded, int queues = 1, int size = 128)
        => VhostUserBlkNode.OpenAsync(new VhostUserBlkOptions(path, queues, size, packed, embedded), OpenFlags.ReadWrite);

    private static void Run(bool packed, bool embedded, Func<ExportFixture, string, IoTask> test)
        => ExportFixture.Run(
            new ArrayNode(new byte[Size]),
            fixture => test(fixture, fixture.SocketPath),
            options => options with { Packed = packed, Embedded = embedded, QueueCount = 2 });
}
