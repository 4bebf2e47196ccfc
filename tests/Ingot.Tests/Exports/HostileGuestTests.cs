using System.Runtime.InteropServices;
using CsCheck;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Ingot.Virtio;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Rings;
using Ingot.Virtio.VhostUser;
using Xunit;

namespace Ingot.Tests.Exports;

/// <summary>What a guest or a front-end can get wrong: it is named, it harms only its own, and the next one is served.</summary>
public class HostileGuestTests
{
    private const int Size = 1 << 20;

    public static TheoryData<string, string> Chains => new()
    {
        { "loop", "loop" },
        { "next out of range", "names descriptor 128 of 128" },
        { "head out of range", "names descriptor 65535 of 128" },
        { "address out of memory", "not in memory" },
        { "address wraps", "not in memory" },
        { "length out of memory", "not in memory" },
        { "readable after writable", "readable descriptor after a writable" },
        { "indirect in indirect", "may not be indirect" },
        { "indirect with next", "may not be indirect" },
        { "indirect odd length", "indirect table" },
        { "indirect empty", "indirect table" },
        { "indirect out of memory", "indirect table" },
        { "indirect loop", "loop" },
        { "indirect onto the ring", "may not be indirect" },
        { "no status", "no room for a status" },
        { "same head twice", "twice" },
        { "index jumps", "jumps from 0 to 129" },
    };

    [Theory]
    [MemberData(nameof(Chains))]
    public void BrokenRing_IsNamedAndStops_AndTheNextIsServed(string what, string expected) => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using (GuestDriver guest = fixture.Connect())
        {
            await guest.StartAsync();
            var driver = new BlkDriver(guest);
            ((ArrayNode)fixture.Node).Holds = what == "same head twice";
            Break(driver, what);
            if (what != "index jumps")
            {
                driver.Queue.Publish();
            }

            driver.Queue.Kick.Signal();
            await EventLoop.Current.Ring.PollAsync(driver.Queue.Error.Descriptor, Libc.POLLIN);
            Assert.Contains(expected, Assert.Single(fixture.Warnings));
            Assert.StartsWith("Export 'disk0': Queue 0: ", fixture.Warnings[0]);
            ((ArrayNode)fixture.Node).Holds = false;
            if (((ArrayNode)fixture.Node).Held.Count > 0)
            {
                ((ArrayNode)fixture.Node).Release(0);
            }
        }

        using GuestDriver next = fixture.Connect();
        await next.StartAsync();
        Assert.Equal(BlkStatus.Ok, await new BlkDriver(next).DoAsync(BlkRequestType.In, 0, 512));
    });

    public static TheoryData<string, string> Messages => new()
    {
        { "unknown", "message 99 is not known" },
        { "features", "SET_FEATURES: bits 0x2" },
        { "protocol", "SET_PROTOCOL_FEATURES: bits 0x8000000000000000" },
        { "ring size", "SET_VRING_NUM: 100 entries" },
        { "ring size 0", "SET_VRING_NUM: 0 entries" },
        { "queue", "SET_VRING_BASE: queue 7 does not exist" },
        { "base", "SET_VRING_BASE: base 65536" },
        { "enable", "SET_VRING_ENABLE: 2" },
        { "ring outside", "descriptor table of queue 0" },
        { "ring unaligned", "not aligned to 16" },
        { "kick without fd", "SET_VRING_KICK: queue 0: a file descriptor is missing" },
        { "regions overlap", "overlap" },
        { "region wraps", "wraps around" },
        { "region too long", "reach past the end of the file" },
        { "region huge", "can't be mapped" },
        { "regions without fds", "SET_MEM_TABLE: 1 regions with 0 file descriptors" },
        { "too many regions", "SET_MEM_TABLE: 9 regions" },
        { "remove nothing", "REM_MEM_REG: there is no region" },
        { "inflight too small", "SET_INFLIGHT_FD: mmap size 64" },
        { "short payload", "payload of 4 bytes, 8 needed" },
    };

    [Theory]
    [MemberData(nameof(Messages))]
    public void NonsenseMessage_IsNamed_AndTheNextIsServed(string what, string expected) => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        using (GuestDriver guest = fixture.Connect())
        {
            await guest.NegotiateAsync(VirtioFeatures.Version1);
            await guest.SetMemoryAsync();
            await SendNonsenseAsync(guest, what);
            Assert.Null(await guest.ReceiveAsync());
        }

        using GuestDriver next = fixture.Connect();
        await next.StartAsync();
        Assert.Equal(BlkStatus.Ok, await new BlkDriver(next).DoAsync(BlkRequestType.In, 0, 512));
        Assert.Contains(expected, Assert.Single(fixture.Warnings));
    });

    [Fact]
    public void FloodOfMessages_LeavesTurnsToOthers() => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        const int Messages = 1000;
        using GuestDriver guest = fixture.Connect();
        await guest.NegotiateAsync(VirtioFeatures.Version1);
        long turns = EventLoop.Current.Turns;
        for (int i = 0; i < Messages; i++)
        {
            await guest.SendAsync(new VhostUserMessage(VhostUserRequest.SetOwner));
        }

        using VhostUserMessage? reply = await guest.CallAsync(new VhostUserMessage(VhostUserRequest.GetFeatures));
        Assert.True(EventLoop.Current.Turns - turns >= Messages);
    });

    [Theory]
    [InlineData(VhostUserRequest.SetVringKick)]
    [InlineData(VhostUserRequest.SetVringCall)]
    [InlineData(VhostUserRequest.SetBackendReqFd)]
    public void DescriptorOfAWrongKind_IsClosed(VhostUserRequest request) => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
    {
        // Only a path: can't be made non-blocking, is no socket.
        const int O_PATH = 0x200000;
        using var other = new FileDescriptor(Libc.open(Path.GetDirectoryName(fixture.SocketPath)!, O_PATH | Libc.O_CLOEXEC, 0));
        using (GuestDriver guest = fixture.Connect())
        {
            await guest.NegotiateAsync(VirtioFeatures.Version1);
            VhostUserMessage message = new VhostUserMessage(request, VhostUserFlags.NeedReply).Add(0UL);
            message.Descriptors.Add(other);
            using VhostUserMessage? reply = await guest.CallAsync(message);
            Assert.Equal(1UL, reply?.Read<ulong>());
        }

        string path = new FileInfo($"/proc/self/fd/{other.Value}").LinkTarget!;
        Assert.Equal(1, Directory.GetFileSystemEntries("/proc/self/fd").Count(f => new FileInfo(f).LinkTarget == path));
    });

    [Fact]
    public void ShrunkMemory_HarmsOnlyItsOwn()
    {
        Assert.SkipUnless(RuntimeInformation.ProcessArchitecture == Architecture.X64, "the guard is for x86-64");
        ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
        {
            const int MemorySize = 4 << 20;
            int fd = CreateUnsealed(MemorySize);
            var guest = new GuestDriver(UnixSocket.Connect(fixture.SocketPath), new FileDescriptor(fd), MemorySize, 1, 128);
            await guest.StartAsync();
            var driver = new BlkDriver(guest);
            Assert.Equal(BlkStatus.Ok, await driver.DoAsync(BlkRequestType.In, 0, 512));
            long before = SharedMemoryGuard.Losses;
            Assert.Equal(0, Libc.ftruncate(fd, 0));
            driver.Queue.Kick.Signal();
            while (SharedMemoryGuard.Losses == before)
            {
                await EventLoop.Current.DelayAsync(TimeSpan.Zero);
            }

            await EventLoop.Current.Ring.PollAsync(driver.Queue.Error.Descriptor, Libc.POLLIN);
            Assert.Contains("has shrunk the file of the memory region at guest address 0x100000000", Assert.Single(fixture.Warnings));
            guest.Dispose();
            using GuestDriver next = fixture.Connect();
            await next.StartAsync();
            Assert.Equal(BlkStatus.Ok, await new BlkDriver(next).DoAsync(BlkRequestType.In, 0, 512));
        });
    }

    [Fact]
    public void RandomRings_NeverHarm() => Gen.Byte.Array[1200].Sample(
        bytes => ExportFixture.Run(new ArrayNode(new byte[Size]), async fixture =>
        {
            using (GuestDriver guest = fixture.Connect())
            {
                await guest.StartAsync();
                var driver = new BlkDriver(guest);
                Scribble(driver, bytes);
                driver.Kick();
                await EventLoop.Current.DelayAsync(TimeSpan.Zero);
                await guest.StopQueueAsync(0);
            }

            using GuestDriver next = fixture.Connect();
            await next.StartAsync();
            Assert.Equal(BlkStatus.Ok, await new BlkDriver(next).DoAsync(BlkRequestType.In, 0, 512));
        }),
        iter: 200,
        threads: 1);

    // Random descriptors that are plausible often enough to get deep.
    private static void Scribble(BlkDriver driver, byte[] bytes)
    {
        for (int i = 0; i < 64; i++)
        {
            ReadOnlySpan<byte> b = bytes.AsSpan(i * 12, 12);
            ulong address = BlkDriver.Address(b[0] % 8, b[1] * 64);
            if (b[2] > 250)
            {
                address = MemoryMarshal.Read<ulong>(b[3..]);
            }

            var flags = (DescriptorFlags)(b[4] % 8);
            uint length = b[5] < 100 ? (uint)b[6] * 16 : b[5] < 240 ? 1u : MemoryMarshal.Read<uint>(b[6..]);
            driver.Set(i, address, length, flags, b[10] % 66);
            driver.WriteHeader(b[11] % 8, (BlkRequestType)(b[9] % 15), b[8]);
        }

        for (int i = 0; i < 8; i++)
        {
            driver.Queue.MakeAvailable((ushort)(bytes[1000 + i] % 65));
        }
    }

    private static void Break(BlkDriver driver, string what)
    {
        const DescriptorFlags Next = DescriptorFlags.Next, Write = DescriptorFlags.Write, Indirect = DescriptorFlags.Indirect;
        driver.Add(0, BlkRequestType.In, 0, 512);
        Span<Descriptor> table = MemoryMarshal.Cast<byte, Descriptor>(driver.Data(2, 4096));
        ulong tableAt = BlkDriver.Address(2, 4096);
        Span<Descriptor> ring = driver.Queue.Descriptors;
        switch (what)
        {
            case "loop":
                driver.Set(2, BlkDriver.Address(0, 16), 1, Next | Write, 1);
                break;
            case "next out of range":
                ring[1].Next = 128;
                break;
            case "head out of range":
                driver.Queue.MakeAvailable(ushort.MaxValue);
                break;
            case "address out of memory":
                ring[1].Address = 0;
                break;
            case "address wraps":
                ring[1].Address = ulong.MaxValue - 100;
                break;
            case "length out of memory":
                ring[1].Length = uint.MaxValue;
                break;
            case "readable after writable":
                driver.Set(2, BlkDriver.Address(0, 16), 1, DescriptorFlags.None, 0);
                break;
            case "indirect in indirect":
                driver.Set(0, tableAt, 16, Indirect, 0);
                table[0] = new Descriptor { Address = tableAt, Length = 16, Flags = Indirect };
                break;
            case "indirect with next":
                driver.Set(0, tableAt, 16, Indirect | Next, 1);
                break;
            case "indirect odd length":
                driver.Set(0, tableAt, 17, Indirect, 0);
                break;
            case "indirect empty":
                driver.Set(0, tableAt, 0, Indirect, 0);
                break;
            case "indirect out of memory":
                driver.Set(0, tableAt, 0xfffffff0, Indirect, 0);
                break;
            case "indirect loop":
                driver.Set(0, tableAt, 32, Indirect, 0);
                table[0] = new Descriptor { Address = tableAt, Length = 0, Flags = Next, Next = 1 };
                table[1] = new Descriptor { Address = tableAt, Length = 0, Flags = Next, Next = 0 };
                break;
            case "indirect onto the ring":
                driver.Set(0, GuestDriver.GuestBase, 16, Indirect, 0);
                break;
            case "no status":
                driver.Set(0, BlkDriver.Address(0, 0), 16, DescriptorFlags.None, 0);
                break;
            case "same head twice":
                driver.Queue.MakeAvailable(0);
                break;
            case "index jumps":
                driver.Queue.Publish(129);
                break;
            default:
                throw new ArgumentException(what);
        }
    }

    private static async IoTask SendNonsenseAsync(GuestDriver guest, string what)
    {
        VhostUserMessage message = Nonsense(guest, what);
        await guest.SendAsync(message);
        if (what.StartsWith("ring ", StringComparison.Ordinal) && !what.Contains("size"))
        {
            await guest.SendAsync(new VhostUserMessage(VhostUserRequest.SetVringNum).Add(new VringState(0, 128)));
            await guest.SendBellAsync(VhostUserRequest.SetVringKick, 0, guest.Queues[0].Kick.Descriptor);
            await guest.SendAsync(new VhostUserMessage(VhostUserRequest.SetVringEnable).Add(new VringState(0, 1)));
        }
    }

    private static VhostUserMessage Nonsense(GuestDriver guest, string what)
    {
        const ulong Base = GuestDriver.GuestBase, User = GuestDriver.UserBase;
        var half = (ulong)guest.MemorySize / 2;
        VringAddress address = guest.Queues[0].AddressOf(0);
        switch (what)
        {
            case "unknown":
                return new VhostUserMessage(99);
            case "features":
                return new VhostUserMessage(VhostUserRequest.SetFeatures).Add(2UL);
            case "protocol":
                return new VhostUserMessage(VhostUserRequest.SetProtocolFeatures).Add(1UL << 63);
            case "ring size":
                return new VhostUserMessage(VhostUserRequest.SetVringNum).Add(new VringState(0, 100));
            case "ring size 0":
                return new VhostUserMessage(VhostUserRequest.SetVringNum).Add(new VringState(0, 0));
            case "queue":
                return new VhostUserMessage(VhostUserRequest.SetVringBase).Add(new VringState(7, 0));
            case "base":
                return new VhostUserMessage(VhostUserRequest.SetVringBase).Add(new VringState(0, 65536));
            case "enable":
                return new VhostUserMessage(VhostUserRequest.SetVringEnable).Add(new VringState(0, 2));
            case "ring outside":
                address.Descriptors += (ulong)guest.MemorySize - 16;
                return new VhostUserMessage(VhostUserRequest.SetVringAddr).Add(address);
            case "ring unaligned":
                address.Descriptors += 8;
                return new VhostUserMessage(VhostUserRequest.SetVringAddr).Add(address);
            case "kick without fd":
                return new VhostUserMessage(VhostUserRequest.SetVringKick).Add(0UL);
            case "regions overlap":
                return Table(guest, new(Base, half, User, 0), new(Base + half - 4096, half, User + (4 * half), 0));
            case "region wraps":
                return Table(guest, new VhostUserMemoryRegion(ulong.MaxValue - 4095, half, User, 0));
            case "region too long":
                return Table(guest, new VhostUserMemoryRegion(Base, half, User, half + 4096));
            case "region huge":
                return Table(guest, new VhostUserMemoryRegion(Base, ulong.MaxValue, User, 4096));
            case "regions without fds":
                VhostUserMessage bare = Table(guest, new VhostUserMemoryRegion(Base, half, User, 0));
                bare.Descriptors.Clear();
                return bare;
            case "too many regions":
                return Table(guest, [.. Enumerable.Range(0, 9).Select(i => new VhostUserMemoryRegion((ulong)i << 20, 4096, (ulong)i << 20, 0))]);
            case "remove nothing":
                return new VhostUserMessage(VhostUserRequest.RemMemReg).Add(0UL).Add(new VhostUserMemoryRegion(Base, half, User, 0));
            case "inflight too small":
                VhostUserMessage inflight = new VhostUserMessage(VhostUserRequest.SetInflightFd).Add(new VhostUserInflight(64, 0, 1, 128));
                inflight.Descriptors.Add(guest.MemoryFile!);
                return inflight;
            case "short payload":
                return new VhostUserMessage(VhostUserRequest.SetFeatures).Add(1);
            default:
                throw new ArgumentException(what);
        }
    }

    private static VhostUserMessage Table(GuestDriver guest, params VhostUserMemoryRegion[] regions)
    {
        VhostUserMessage table = new VhostUserMessage(VhostUserRequest.SetMemTable).Add((ulong)regions.Length);
        foreach (VhostUserMemoryRegion region in regions)
        {
            table.Add(region).Descriptors.Add(guest.MemoryFile!);
        }

        return table;
    }

    private static int CreateUnsealed(int length)
    {
        int fd = Libc.memfd_create("shrinks", Libc.MFD_CLOEXEC);
        Assert.Equal(0, Libc.ftruncate(fd, length));
        return fd;
    }
}
