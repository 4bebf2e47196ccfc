using CsCheck;
using Ingot.Linux;
using Ingot.Tests.Rings;
using Ingot.Virtio;
using Ingot.Virtio.Rings;
using Xunit;

namespace Ingot.Tests.Virtio;

/// <summary>Our driver's side of every ring layout against our device's side of it.</summary>
public sealed class DriverQueueTests
{
    public static TheoryData<bool, bool> Formats => new() { { false, false }, { true, false }, { false, true }, { true, true } };

    [Theory]
    [MemberData(nameof(Formats))]
    public void Requests_and_answers_arrive_once_whatever_the_order(bool packed, bool embedded)
        => Gen.Select(Gen.Int[1, 6], Gen.Int[3, 12], Gen.Bool, Gen.Bool, Gen.Int).Sample(
            (log, descriptors, indirect, events, seed) =>
            {
                ulong features = Features(packed, embedded, indirect, events);
                using var model = new DriverQueueModel(Math.Max(1 << log, indirect ? 2 : 4), descriptors, features, seed);
                model.Run(600);
            },
            iter: 100);

    [Theory]
    [MemberData(nameof(Formats))]
    public void Indices_of_16_bits_go_around(bool packed, bool embedded)
    {
        using var model = new DriverQueueModel(4, 3, Features(packed, embedded, indirect: true, events: true), seed: 1);
        for (int i = 0; i < 66_000; i++)
        {
            model.RoundTrip(i % 1000 == 0);
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_request_allocates_nothing(bool packed, bool embedded)
    {
        using var model = new DriverQueueModel(64, 4, Features(packed, embedded, indirect: true, events: true), seed: 1);
        model.RoundTripsWithoutModel(20_000);

        // The runtime itself allocates when it compiles something anew, so the least of several rounds counts.
        Assert.Equal(0, Enumerable.Range(0, 5).Min(_ =>
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            model.RoundTripsWithoutModel(20_000);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }));
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public unsafe void A_device_that_writes_anything_anywhere_gets_no_more_answers_taken_than_it_was_asked(bool packed, bool embedded)
        => Gen.Select(Gen.Int[1, 4], Gen.Bool, Gen.Bool, Gen.Int).Sample(
            (log, indirect, events, seed) =>
            {
                ulong features = Features(packed, embedded, indirect, events);
                int size = Math.Max(1 << log, 4);
                long bytes = DriverQueue.MemorySize(size, 4, features);
                using var memory = new GuardedWindow(bytes);
                using var kick = new EventFd();
                Span<byte> span = memory.Window.Span[..(int)bytes];
                fixed (byte* start = span)
                {
                    Torment(DriverQueue.Create(start, size, 4, features, kick.Descriptor), span, new Random(seed));
                }
            },
            iter: 120);

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_driver_that_writes_anything_anywhere_gets_nothing_outside_of_its_memory(bool packed, bool embedded)
        => Gen.Select(Gen.Int[1, 4], Gen.Bool, Gen.Bool, Gen.Int).Sample(
            (log, indirect, events, seed) =>
            {
                using var model = new DriverQueueModel(Math.Max(1 << log, 4), 5, Features(packed, embedded, indirect, events), seed);
                model.TormentDevice(300);
            },
            iter: 120);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_embedded_request_of_one_buffer_is_one_descriptor(bool packed)
    {
        using var model = new DriverQueueModel(8, 4, Features(packed, embedded: true, indirect: true, events: true), seed: 1);
        model.Submit(0, 1);
        model.PublishRequests();
        Assert.Equal((int)DescriptorFlags.Write, model.FirstEntryFlags & (int)(DescriptorFlags.Write | DescriptorFlags.Next | DescriptorFlags.Indirect));
        model.Submit(1, 2);
        model.Finish();
    }

    private static ulong Features(bool packed, bool embedded, bool indirect, bool events)
        => VirtioFeatures.Version1 | (packed ? VirtioFeatures.RingPacked : 0) | (embedded ? VirtioFeatures.EmbeddedRequests : 0)
            | (indirect ? VirtioFeatures.IndirectDescriptors : 0) | (events ? VirtioFeatures.EventIndex : 0);

    private static unsafe void Torment(DriverQueue driver, Span<byte> memory, Random random)
    {
        var inFlight = new HashSet<int>();
        byte* anywhere = stackalloc byte[64];
        try
        {
            for (int i = 0; i < 300; i++)
            {
                while (driver.HasFreeSlot && random.Next(3) > 0)
                {
                    int slot = driver.Rent();
                    for (int d = random.Next(1, driver.MaxDescriptors + 1); d > 0; d--)
                    {
                        driver.Add(anywhere, (uint)random.Next(64), d == 1);
                    }

                    driver.Submit(slot, 1, 2);
                    Assert.True(inFlight.Add(slot));
                }

                driver.Publish();
                for (int n = random.Next(6); n > 0; n--)
                {
                    memory[random.Next(memory.Length)] = random.Next(2) == 0 ? (byte)random.Next(256) : (byte)(random.Next(2) * 0x80);
                }

                while (driver.TryTakeUsed(out int slot))
                {
                    Assert.True(inFlight.Remove(slot));
                    driver.Return(slot);
                }

                driver.EnableCalls();
                driver.DisableCalls();
            }
        }
        catch (ErrnoException e)
        {
            Assert.Equal(Errno.EPROTO, e.Errno);
        }
    }
}
