using System.Runtime.InteropServices;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Ingot.Virtio;
using Ingot.Virtio.Blk;
using Ingot.Virtio.VhostUser;
using Xunit;

namespace Ingot.Tests.Exports;

public class VhostUserBlkExportTests
{
    private const int Size = 1 << 20;

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void WriteReadFlush(int loopCount)
    {
        var node = new ArrayNode(new byte[Size], BlockFeatures.Write | BlockFeatures.AnyLoop);
        ExportFixture.Run(node, async fixture =>
        {
            using GuestDriver guest = fixture.Connect(queueCount: 3);
            await guest.StartAsync();
            for (int q = 0; q < 3; q++)
            {
                var driver = new BlkDriver(guest, q);
                driver.Data(q, 4096).Fill((byte)(q + 1));
                Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.Out, (ulong)(8 * q), 4096, q));
                driver.Data(q, 4096).Clear();
                Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.In, (ulong)(8 * q), 4096, q));
                Assert.Equal((byte)(q + 1), driver.Data(q, 4096)[4095]);
                Assert.Equal((byte)(q + 1), node.Data[(4096 * q) + 7]);
                Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.Flush, 0, 0, q));
            }

            Assert.Equal(3, node.Flushes);
            Assert.Equal(9, fixture.Export.Statistics.Requests);
            Assert.Equal(3 * 4096, fixture.Export.Statistics.BytesWritten);
        }, o => o with { QueueCount = 4 }, loopCount);
    }

    [Fact]
    public void NodeThatIsBoundToALoop_IsServedOnTheOneGiven()
    {
        var node = new ArrayNode(new byte[Size]);
        ExportFixture.Run(node, async fixture =>
        {
            using GuestDriver guest = fixture.Connect(queueCount: 2);
            await guest.StartAsync();
            Assert.Equal(BlkStatus.Ok, await new BlkDriver(guest, 0).DoAsync(BlkRequestType.Out, 0, 4096));
            Assert.Equal(BlkStatus.Ok, await new BlkDriver(guest, 1).DoAsync(BlkRequestType.In, 0, 4096, 1));
            await fixture.Export.StopAsync();
            Assert.Equal("worker0", Assert.Single(node.Loops).Name);
        }, o => o with { QueueCount = 2 }, loopCount: 2);
    }

    [Fact]
    public void Memory_is_registered_while_a_queue_uses_it() => ExportFixture.Run(
        new ArrayNode(new byte[Size]),
        async fixture =>
        {
            using (GuestDriver guest = fixture.Connect(queueCount: 2))
            {
                await guest.StartAsync();
                Assert.Equal(BlkStatus.Ok, await new BlkDriver(guest, 0).DoAsync(BlkRequestType.In, 0, 4096));
                Assert.True(EventLoop.Current.Ring is not UringRing { FixedMemory: 0 } || fixture.Warnings.Count > 0);
            }

            await fixture.Export.StopAsync();
            Assert.True(EventLoop.Current.Ring is not UringRing { FixedMemory: > 0 });
        },
        options => options with { RegisterMemory = true, QueueCount = 2 });

    [Fact]
    public void FrontEndThatComesBack_IsServedAgain() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        for (int i = 0; i < 3; i++)
        {
            using GuestDriver guest = fixture.Connect();
            await guest.StartAsync();
            Assert.Equal(BlkStatus.Ok, await new BlkDriver(guest).DoAsync(BlkRequestType.In, 0, 512));
        }

        Assert.Empty(fixture.Warnings);
    });

    [Fact]
    public void GetId_GivesTheSerial() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync();
        var driver = new BlkDriver(guest);
        Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.GetId, 0, 20));
        Assert.Equal("disk0\0"u8.ToArray(), driver.Data(0, 6).ToArray());
    });

    [Fact]
    public void Refusals_HaveTheRightStatus() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync();
        var driver = new BlkDriver(guest);
        Assert.Equal(BlkStatus.IoError, await driver.DoAsync(BlkRequestType.In, Size / 512, 512));
        Assert.Equal(BlkStatus.IoError, await driver.DoAsync(BlkRequestType.In, (Size / 512) - 1, 1024));
        Assert.Equal(BlkStatus.IoError, await driver.DoAsync(BlkRequestType.In, ulong.MaxValue, 512));
        Assert.Equal(BlkStatus.IoError, await driver.DoAsync(BlkRequestType.In, 1UL << 55, 512));
        Assert.Equal(BlkStatus.IoError, await driver.DoAsync(BlkRequestType.In, 0, 511));
        Assert.Equal(BlkStatus.Unsupported, await driver.DoAsync((BlkRequestType)2, 0, 512));
        Assert.Equal(BlkStatus.Unsupported, await driver.DoAsync((BlkRequestType)0x80000000, 0, 0));
        Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.In, (Size / 512) - 1, 512));
        Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.In, 0, 0));
        ((ArrayNode)fixture.Node).NextError = Errno.ENOSPC;
        Assert.Equal(BlkStatus.IoError, await driver.DoAsync(BlkRequestType.Out, 0, 512));
        ((ArrayNode)fixture.Node).NextError = Errno.EOPNOTSUPP;
        Assert.Equal(BlkStatus.Unsupported, await driver.DoAsync(BlkRequestType.Out, 0, 512));
        Assert.Empty(fixture.Warnings);
    });

    [Fact]
    public void ReadOnly_RefusesWrites() => ExportFixture.Run(new ArrayNode(new byte[Size], BlockFeatures.None), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync();
        Assert.NotEqual(0UL, guest.OfferedFeatures & BlkFeatures.ReadOnly);
        Assert.Equal(0UL, guest.OfferedFeatures & BlkFeatures.Discard);
        var driver = new BlkDriver(guest);
        Assert.Equal(BlkStatus.IoError, await driver.DoAsync(BlkRequestType.Out, 0, 512));
        Assert.Equal(BlkStatus.IoError, await driver.DoAsync(BlkRequestType.Discard, 0, 16));
        Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.In, 0, 512));
    });

    [Fact]
    public void DiscardAndZeroes_ReachTheNode() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync();
        var driver = new BlkDriver(guest);
        BlkRange[] ranges = [new BlkRange { Sector = 8, SectorCount = 4 }, new BlkRange { Sector = 100, SectorCount = 1, Flags = 0 }];
        MemoryMarshal.AsBytes(ranges.AsSpan()).CopyTo(driver.Data(0, 32));
        Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.Discard, 0, 32));
        ranges[0].Flags = BlkRange.Unmap;
        MemoryMarshal.AsBytes(ranges.AsSpan()).CopyTo(driver.Data(0, 32));
        Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.WriteZeroes, 0, 32));
        Assert.Equal(BlkStatus.Unsupported, await driver.DoAsync(BlkRequestType.Discard, 0, 32));
        ranges[0].Sector = ulong.MaxValue;
        MemoryMarshal.AsBytes(ranges.AsSpan()).CopyTo(driver.Data(0, 32));
        Assert.Equal(BlkStatus.IoError, await driver.DoAsync(BlkRequestType.WriteZeroes, 0, 32));
        Assert.Equal(BlkStatus.IoError, await driver.DoAsync(BlkRequestType.WriteZeroes, 0, 31));
        Assert.Equal(["discard 4096 2048", "discard 51200 512", "zero 4096 2048 MayUnmap", "zero 51200 512 None"], ((ArrayNode)fixture.Node).Calls);
    });

    [Fact]
    public void Config_DescribesTheDisk_AndSwitchesTheCache() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync(guest.OfferedFeatures | BlkFeatures.Flush | BlkFeatures.ConfigWce | VirtioFeatures.Version1);
        VirtioBlkConfig config = await ReadConfigAsync(guest);
        Assert.Equal((ulong)Size / 512, config.Capacity);
        Assert.Equal((1u, 4u, 126u), (config.WriteBack, config.QueueCount, config.SegMax));
        Assert.Equal(4096u, config.BlockSize);
        var driver = new BlkDriver(guest);
        await driver.DoAsync(BlkRequestType.Out, 0, 4096);
        byte[] off = [0];
        using VhostUserMessage? ack = await guest.CallAsync(new VhostUserMessage(VhostUserRequest.SetConfig, VhostUserFlags.NeedReply).Add(new VhostUserConfigHead(32, 1, 0)).Add(off));
        Assert.Equal(0UL, ack!.Read<ulong>());
        Assert.Equal(0, (await ReadConfigAsync(guest)).WriteBack);
        await driver.DoAsync(BlkRequestType.Out, 0, 4096);
        Assert.Equal(["write None", "write None", "flush"], ((ArrayNode)fixture.Node).Calls);
        using VhostUserMessage? refused = await guest.CallAsync(new VhostUserMessage(VhostUserRequest.SetConfig, VhostUserFlags.NeedReply).Add(new VhostUserConfigHead(0, 1, 0)).Add(off));
        Assert.Equal(1UL, refused!.Read<ulong>());
    }, o => o with { QueueCount = 4, LogicalBlockSize = 4096 });

    [Fact]
    public void WriteThrough_MakesEveryWriteDurable() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync(guest.OfferedFeatures | BlkFeatures.Flush | BlkFeatures.ConfigWce | VirtioFeatures.Version1);
        Assert.Equal(0, (await ReadConfigAsync(guest)).WriteBack);
        await new BlkDriver(guest).DoAsync(BlkRequestType.Out, 0, 4096);
        Assert.Equal(["write None", "flush"], ((ArrayNode)fixture.Node).Calls);
    }, o => o with { WriteThrough = true });

    [Fact]
    public void Resize_IsTold() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync();
        (UnixSocket mine, UnixSocket theirs) = UnixSocket.CreatePair();
        using var channel = new VhostUserConnection(mine);
        var message = new VhostUserMessage(VhostUserRequest.SetBackendReqFd, VhostUserFlags.NeedReply);
        message.Descriptors.Add(theirs.Descriptor);
        using VhostUserMessage? ack = await guest.CallAsync(message);
        theirs.Dispose();
        ((ArrayNode)fixture.Node).Resize(2 * Size);
        await fixture.Export.NotifyResizeAsync();
        using VhostUserMessage? told = await channel.ReceiveAsync();
        Assert.Equal((uint)VhostUserBackendRequest.ConfigChange, told!.Request);
        Assert.Equal(2UL * Size / 512, (await ReadConfigAsync(guest)).Capacity);
        Assert.Equal(BlkStatus.Ok, await new BlkDriver(guest).DoAsync(BlkRequestType.In, Size / 512, 512));
    });

    [Fact]
    public void WithoutKick_TheRingIsPolled() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.NegotiateAsync(VirtioFeatures.Version1);
        await guest.SetMemoryAsync();
        await guest.StartQueueAsync(0, withKick: false);
        var driver = new BlkDriver(guest);
        driver.Add(0, BlkRequestType.In, 0, 512);
        driver.Queue.Publish();
        await guest.WaitUsedAsync();
        Assert.Equal(0, driver.Status(0));
    });

    [Theory]
    [InlineData(0, 512, "num-queues")]
    [InlineData(65, 512, "num-queues")]
    [InlineData(1, 511, "logical-block-size")]
    [InlineData(1, 768, "logical-block-size")]
    [InlineData(1, 4 << 20, "logical-block-size")]
    public void WrongOptions_AreNamed(int queues, int blockSize, string expected)
    {
        ErrnoException error = Assert.Throws<ErrnoException>(() => ExportFixture.Run(new ArrayNode(new byte[Size]), _ => IoTask.Completed, o => o with { QueueCount = queues, LogicalBlockSize = blockSize }));
        Assert.Contains(expected, error.Message);
        Assert.Contains("disk0", error.Message);
    }

    [Fact]
    public void TheMessageThatNegotiatesAcks_IsAcked() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        using VhostUserMessage? ack = await guest.CallAsync(new VhostUserMessage(VhostUserRequest.SetProtocolFeatures, VhostUserFlags.NeedReply).Add((ulong)VhostUserProtocolFeatures.ReplyAck));
        Assert.Equal(0UL, ack!.Read<ulong>());
    });

    private static async IoTask<VirtioBlkConfig> ReadConfigAsync(GuestDriver guest)
    {
        using VhostUserMessage? reply = await guest.CallAsync(new VhostUserMessage(VhostUserRequest.GetConfig).Add(new VhostUserConfigHead(0, 72, 0)).Add(new byte[72]));
        Assert.Equal(84, reply!.Payload.Length);
        return reply.Read<VirtioBlkConfig>(VhostUserConfigHead.HeadSize);
    }
}
