using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Ingot.Virtio;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Memory;
using Ingot.Virtio.Rings;
using Ingot.Virtio.VhostUser;
using Xunit;

namespace Ingot.Tests.Exports;

/// <summary>What a front-end may change while rings run, and what it hears meanwhile.</summary>
public class RunningRingTests
{
    private const int Size = 1 << 20;
    private const ulong Features = VirtioFeatures.Version1 | VirtioFeatures.EventIndex | BlkFeatures.Flush;

    [Fact]
    public void NewMemory_WaitsForWhatIsInFlight() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync();
        var driver = new BlkDriver(guest);
        var node = (ArrayNode)fixture.Node;
        await HoldOneAsync(driver, node);
        await guest.SetMemoryAsync();
        await SettleAsync();
        node.Holds = false;
        node.Release(0);
        await guest.WaitUsedAsync();
        Assert.Equal(0, driver.Status(0));
        driver.Queue.TryTakeUsed(out _);
        Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.In, 1, 512));
    });

    [Fact]
    public void RingWhoseMemoryIsRemoved_WaitsForItsReturn() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.NegotiateAsync(Features);
        await guest.SendAsync(Region(guest, VhostUserRequest.AddMemReg));
        await guest.StartQueueAsync(0);
        var driver = new BlkDriver(guest);
        Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.In, 0, 512));
        await AckAsync(guest, Region(guest, VhostUserRequest.RemMemReg));
        driver.Add(0, BlkRequestType.In, 0, 512);
        driver.Kick();
        await SettleAsync();
        Assert.Equal(0, driver.Queue.Pending);
        await AckAsync(guest, Region(guest, VhostUserRequest.AddMemReg));
        await guest.WaitUsedAsync();
        Assert.Equal(0, driver.Status(0));
        Assert.Empty(fixture.Warnings);
    });

    [Fact]
    public void DisabledRing_RestsUntilEnabled() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync();
        await AckAsync(guest, new VhostUserMessage(VhostUserRequest.SetVringEnable, VhostUserFlags.NeedReply).Add(new VringState(0, 0)));
        var driver = new BlkDriver(guest);
        driver.Add(0, BlkRequestType.In, 0, 512);
        driver.Kick();
        await SettleAsync();
        Assert.Equal(0, driver.Queue.Pending);
        await guest.SendAsync(new VhostUserMessage(VhostUserRequest.SetVringEnable).Add(new VringState(0, 1)));
        await guest.WaitUsedAsync();
    });

    [Fact]
    public void StopAndStart_GoesOnWhereItWas() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync();
        var driver = new BlkDriver(guest);
        for (int i = 1; i <= 3; i++)
        {
            await driver.DoAsync(BlkRequestType.In, 0, 512);
            ushort next = await guest.StopQueueAsync(0);
            Assert.Equal(i, next);
            await guest.StartQueueAsync(0, next);
        }
    });

    [Theory]
    [InlineData(VhostUserRequest.ResetDevice)]
    [InlineData(VhostUserRequest.ResetOwner)]
    [InlineData(VhostUserRequest.SetStatus)]
    public void Reset_StopsRings_AndKeepsMemory(VhostUserRequest request) => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync();
        await guest.SendAsync(new VhostUserMessage(VhostUserRequest.SetStatus).Add(15UL));
        using VhostUserMessage? status = await guest.CallAsync(new VhostUserMessage(VhostUserRequest.GetStatus));
        Assert.Equal(15UL, status!.Read<ulong>());
        var driver = new BlkDriver(guest);
        await driver.DoAsync(BlkRequestType.In, 0, 512);
        var message = new VhostUserMessage(request, VhostUserFlags.NeedReply);
        await AckAsync(guest, request == VhostUserRequest.SetStatus ? message.Add(0UL) : message);
        driver.Add(0, BlkRequestType.In, 0, 512);
        driver.Kick();
        await SettleAsync();
        Assert.Equal(0, driver.Queue.Pending);
        Assert.Equal(1, await guest.StopQueueAsync(0));
        await guest.SendAsync(new VhostUserMessage(VhostUserRequest.SetFeatures).Add(Features | VirtioFeatures.ProtocolFeatures));
        await guest.StartQueueAsync(0, start: 1);
        await guest.WaitUsedAsync();
    });

    [Fact]
    public void Writes_AreLoggedWhileAsked() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        const int LogSize = 1 << 20;
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync(Features);
        var driver = new BlkDriver(guest);
        using FileDescriptor file = SharedMapping.CreateFile("log", LogSize);
        SharedMapping log = SharedMapping.Map(file, 0, LogSize, "log");
        VhostUserMessage message = new VhostUserMessage(VhostUserRequest.SetLogBase).Add(new VhostUserLog(LogSize, 0));
        message.Descriptors.Add(file);
        using VhostUserMessage? reply = await guest.CallAsync(message);
        Assert.Equal((uint)VhostUserRequest.SetLogBase, reply!.Request);
        await driver.DoAsync(BlkRequestType.In, 0, 8192);
        Assert.Empty(DirtyPages(log));

        VringAddress address = driver.Queue.AddressOf(0);
        address.Flags = VringAddress.LogFlag;
        address.LogGuestAddress = 0x5000;
        await AckAsync(guest, new VhostUserMessage(VhostUserRequest.SetVringAddr, VhostUserFlags.NeedReply).Add(address));
        await AckAsync(guest, new VhostUserMessage(VhostUserRequest.SetFeatures, VhostUserFlags.NeedReply).Add(Features | VirtioFeatures.LogAll | VirtioFeatures.ProtocolFeatures));
        await driver.DoAsync(BlkRequestType.In, 0, 8192, slot: 1);
        ulong page = BlkDriver.Address(1, 0) >> 12;
        Assert.Equal([5, (long)page, (long)page + 1, (long)page + 2], DirtyPages(log));
        log.Span.Clear();
        await driver.DoAsync(BlkRequestType.Out, 0, 8192, slot: 2);
        Assert.Equal([5, (long)(BlkDriver.Address(2, 0) >> 12)], DirtyPages(log));
        log.Release();
    });

    [Fact]
    public void OneCallForABatch_AndNoneWhenTheDriverDoesNotWantIt() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync(VirtioFeatures.Version1 | BlkFeatures.Flush);
        var driver = new BlkDriver(guest);
        await SettleAsync();
        driver.Queue.Call.Clear();
        for (int slot = 0; slot < 20; slot++)
        {
            driver.Add(slot, BlkRequestType.In, 0, 512);
        }

        driver.Kick();
        await SettleAsync();
        Assert.Equal(20, driver.Queue.UsedIndex);
        Assert.Equal(1, Read(driver.Queue.Call));
        driver.Queue.WishForCalls(0, SplitLayout.AvailableNoInterrupt);
        driver.Add(0, BlkRequestType.In, 0, 512);
        driver.Kick();
        await SettleAsync();
        Assert.Equal(21, driver.Queue.UsedIndex);
        Assert.Equal(-1, Read(driver.Queue.Call));
    });

    [Fact]
    public void Pipes_AreDoorbellsToo() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using GuestDriver guest = fixture.Connect();
        await guest.NegotiateAsync(Features);
        await guest.SetMemoryAsync();
        await guest.StartQueueAsync(0);
        (UnixSocket kickOurs, UnixSocket kickTheirs) = UnixSocket.CreatePair();
        (UnixSocket callOurs, UnixSocket callTheirs) = UnixSocket.CreatePair();
        await guest.SendBellAsync(VhostUserRequest.SetVringCall, 0, callTheirs.Descriptor);
        await guest.SendBellAsync(VhostUserRequest.SetVringKick, 0, kickTheirs.Descriptor);
        var driver = new BlkDriver(guest);
        for (ushort i = 0; i < 3; i++)
        {
            await SettleAsync();
            while (callOurs.TryReceive(new byte[64], []) > 0)
            {
            }

            driver.Queue.WishForCalls(i);
            driver.Add(0, BlkRequestType.In, 0, 512);
            driver.Queue.Publish();
            kickOurs.TrySend(new byte[8]);
            await EventLoop.Current.Ring.PollAsync(callOurs.Descriptor, Libc.POLLIN);
            Assert.Equal(i + 1, driver.Queue.UsedIndex);
        }

        Array.ForEach((UnixSocket[])[kickOurs, kickTheirs, callOurs, callTheirs], s => s.Dispose());
    });

    [Fact]
    public void FrontEndThatDiesInMidRequest_HarmsNobody() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        var node = (ArrayNode)fixture.Node;
        GuestDriver dead = fixture.Connect();
        await dead.StartAsync();
        await HoldOneAsync(new BlkDriver(dead), node);
        dead.Dispose();
        await SettleAsync();
        using GuestDriver next = fixture.Connect();
        IoTask starting = next.StartAsync();
        await SettleAsync();
        node.Holds = false;
        node.Release(0);
        await starting;
        Assert.Equal(BlkStatus.Ok, await new BlkDriver(next).DoAsync(BlkRequestType.In, 0, 512));
    });

    private static async IoTask HoldOneAsync(BlkDriver driver, ArrayNode node)
    {
        node.Holds = true;
        driver.Add(0, BlkRequestType.In, 0, 512);
        driver.Kick();
        while (node.Held.Count == 0)
        {
            await EventLoop.Current.DelayAsync(TimeSpan.Zero);
        }
    }

    // All on one loop: after some turns whatever can happen has happened.
    private static async IoTask SettleAsync()
    {
        for (int i = 0; i < 50; i++)
        {
            await EventLoop.Current.DelayAsync(TimeSpan.Zero);
        }
    }

    private static async IoTask AckAsync(GuestDriver guest, VhostUserMessage message)
    {
        using VhostUserMessage? ack = await guest.CallAsync(message);
        Assert.Equal(0UL, ack!.Read<ulong>());
    }

    private static VhostUserMessage Region(GuestDriver guest, VhostUserRequest request)
    {
        VhostUserMessage message = new VhostUserMessage(request, guest.Queues[0].UsedIndex == 0 ? 0 : VhostUserFlags.NeedReply)
            .Add(0UL).Add(new VhostUserMemoryRegion(GuestDriver.GuestBase, (ulong)guest.MemorySize, GuestDriver.UserBase, 0));
        if (request == VhostUserRequest.AddMemReg)
        {
            message.Descriptors.Add(guest.MemoryFile!);
        }

        return message;
    }

    private static List<long> DirtyPages(SharedMapping log)
    {
        var pages = new List<long>();
        for (int i = 0; i < log.Length * 8; i++)
        {
            if ((log.Span[i / 8] & (1 << (i % 8))) != 0)
            {
                pages.Add(i);
            }
        }

        return pages;
    }

    private static unsafe long Read(EventFd bell)
    {
        long value;
        return Libc.read(bell.Descriptor.Value, &value, sizeof(long)) == sizeof(long) ? value : -1;
    }
}
