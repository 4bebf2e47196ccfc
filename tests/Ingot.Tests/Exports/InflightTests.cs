using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Memory;
using Ingot.Virtio.Rings;
using Ingot.Virtio.VhostUser;
using Xunit;

namespace Ingot.Tests.Exports;

/// <summary>A server dies with requests in flight, some completed out of order; its successor gets the same memory and the same in-flight buffer.</summary>
public class InflightTests
{
    private const int MemorySize = 16 << 20;

    [Fact]
    public void WhatWasInFlight_IsServedAgain_AndNothingElse()
    {
        // What the guest's memory and the in-flight buffer hold at one moment is what a death at that moment leaves.
        byte[] memory = [];
        byte[] notes = [];
        var first = new ArrayNode(new byte[1 << 20]) { Holds = true };
        ExportFixture.Run(first, async dying =>
        {
            using GuestDriver guest = dying.Connect();
            await guest.NegotiateAsync((1UL << 32) | (1UL << 29));
            await guest.SetMemoryAsync();
            await guest.SetUpInflightAsync();
            await guest.StartQueueAsync(0);
            var driver = new BlkDriver(guest);
            for (int slot = 0; slot < 6; slot++)
            {
                driver.Data(slot, 512).Fill((byte)(slot + 1));
                driver.Add(slot, BlkRequestType.Out, (ulong)slot, 512);
            }

            driver.Kick();
            while (first.Held.Count < 6)
            {
                await EventLoop.Current.DelayAsync(TimeSpan.Zero);
            }

            first.Release(4);
            first.Release(1);
            await guest.WaitUsedAsync(0, 2);
            memory = guest.Memory.ToArray();
            notes = Content(guest.InflightFile!).Span.ToArray();
            while (first.Held.Count > 0)
            {
                first.Release(0);
            }
        });

        var second = new ArrayNode(new byte[1 << 20]);
        ExportFixture.Run(second, async successor =>
        {
            FileDescriptor notesFile = SharedMapping.CreateFile("inflight", notes.Length);
            notes.CopyTo(Content(notesFile).Span);
            FileDescriptor memoryFile = SharedMapping.CreateFile("guest", MemorySize);
            memory.CopyTo(SharedMapping.Map(memoryFile, 0, MemorySize, "memory").Span);
            using var guest = new GuestDriver(UnixSocket.Connect(successor.SocketPath), memoryFile, MemorySize, 1, 128) { InflightFile = notesFile };
            await guest.NegotiateAsync((1UL << 32) | (1UL << 29));
            await guest.SetMemoryAsync();
            await guest.SetUpInflightAsync();
            await guest.StartQueueAsync(0, start: 2);
            await guest.WaitUsedAsync(0, 4);
            Assert.Equal(4, guest.Queues[0].Pending);
            for (int slot = 0; slot < 6; slot++)
            {
                Assert.Equal(slot is 1 or 4 ? 0 : slot + 1, second.Data[512 * slot]);
            }

            var used = new List<uint>();
            while (guest.Queues[0].TryTakeUsed(out UsedElement element))
            {
                used.Add(element.Id);
            }

            Assert.Equal([0u, 6u, 9u, 15u], used);
            Assert.Equal(6, await guest.StopQueueAsync(0));
        });
    }

    [Fact]
    public void DeathBetweenPublishingAndNoting_IsRepaired()
    {
        long size = InflightRegion.SizeOf(1, 16);
        using FileDescriptor file = SharedMapping.CreateFile("inflight", size);
        InflightRegion region = InflightRegion.Map(file, new VhostUserInflight((ulong)size, 0, 1, 16));
        InflightQueue queue = region.GetQueue(0, 16);
        Assert.Null(queue.Recover(100));
        foreach (ushort head in (ushort[])[3, 5, 7, 9])
        {
            queue.Take(head);
        }

        queue.Use(5);
        queue.Publish(101);
        queue.Use(9);
        queue.Use(3);

        // Dead before the used index was published: both are served again. Dead after it: neither is.
        Assert.Equal([3, 7, 9], region.GetQueue(0, 16).Recover(101)!);
        Assert.Equal([7], region.GetQueue(0, 16).Recover(103)!);
        Assert.Equal([7], region.GetQueue(0, 16).Recover(103)!);
        region.Release();
    }

    [Fact]
    public unsafe void DriverThatRacesAhead_OverrunsNeitherRingNorNotes()
    {
        const int Size = 2;
        long notesSize = InflightRegion.SizeOf(1, Size);
        using FileDescriptor notesFile = SharedMapping.CreateFile("inflight", notesSize);
        using FileDescriptor memoryFile = SharedMapping.CreateFile("guest", 1 << 16);
        InflightRegion notes = InflightRegion.Map(notesFile, new VhostUserInflight((ulong)notesSize, 0, 1, Size));
        SharedMapping mapping = SharedMapping.Map(memoryFile, 0, 1 << 16, "memory");
        GuestMemory memory = GuestMemory.Create([new GuestRegion(0, 0, mapping)]);
        var address = new VringAddress { Descriptors = 0, Available = 4096, Used = 8192 };
        var queue = new SplitVirtqueue(new QueueSetup(0, memory, Size, address, 0, 0, null), notes.GetQueue(0, Size));
        Span<Descriptor> table = new(mapping.Pointer, Size);
        table[0] = table[1] = new Descriptor { Address = 16384, Length = 1, Flags = DescriptorFlags.Write };
        var available = (ushort*)(mapping.Pointer + 4096);
        available[3] = 1;
        using var chain = new DescriptorChain();
        for (int i = 0; i < 100; i++)
        {
            available[1] = (ushort)(i + 1); // visible before the answer to the last but one is
            Assert.Equal(PopResult.Popped, queue.TryPop(chain));
            queue.PushUsed(chain, 1);
        }

        queue.Publish();
        Assert.Equal(100, *(ushort*)(mapping.Pointer + 8192 + 2));
        Assert.Empty(notes.GetQueue(0, Size).Recover(100)!);
        notes.Release();
        memory.Release();
    }

    private static SharedMapping Content(FileDescriptor file) => SharedMapping.Map(file, 0, (ulong)Libc.Stat(file.Value).Size, "in-flight buffer");
}
