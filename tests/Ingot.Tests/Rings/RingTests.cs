using CsCheck;
using Ingot.Linux;
using Ingot.Rings;
using Ingot.Rings.Lab;
using Ingot.Rings.Memory;
using Xunit;

namespace Ingot.Tests.Rings;

public sealed class RingTests
{
    private const int StepsAModel = 600;

    public static TheoryData<string> Designs => [.. RingDesigns.All.Select(d => d.Name)];

    // A request of the most segments fits into the ring, also when each piece takes an entry.
    private static readonly Gen<RingGeometry> Geometries = Gen.Select(Gen.Int[1, 6], Gen.Int[1, 40], Gen.Int[1, 9])
        .Select((log, depth, segments) => new RingGeometry(1 << log, depth, Math.Max(1, Math.Min(segments, (1 << log) - 2))))
        .Where(g => g.QueueSize >= g.MaxSegments + 2);

    [Theory]
    [MemberData(nameof(Designs))]
    public void A_ring_delivers_what_a_queue_would(string name)
    {
        RingDesign design = RingDesigns.Find(name)!;
        Gen.Select(Geometries, Gen.Int).Sample(
            (geometry, seed) =>
            {
                using var memory = new GuardedWindow(RingModel.WindowBytes(design, geometry));
                var model = new RingModel(design, geometry, memory.Window, seed);
                for (int i = 0; i < StepsAModel; i++)
                {
                    model.Step();
                }

                model.Drain();
            },
            iter: 60);
    }

    [Theory]
    [InlineData("split")]
    [InlineData("split-indirect-in-order")]
    [InlineData("embedded")]
    public void Indexes_that_overflow_change_nothing(string name)
    {
        RingDesign design = RingDesigns.Find(name)!;
        var geometry = new RingGeometry(8, 8, 2);
        using var memory = new GuardedWindow(RingModel.WindowBytes(design, geometry));
        var model = new RingModel(design, geometry, memory.Window, 1);
        for (int i = 0; i < 450_000; i++)
        {
            model.Step();
        }

        model.Drain();
    }

    [Theory]
    [MemberData(nameof(Designs))]
    public void A_hostile_driver_makes_the_device_give_up_at_worst(string name)
    {
        RingDesign design = RingDesigns.Find(name)!;
        Gen.Select(Geometries, Gen.Int).Sample(
            (geometry, seed) =>
            {
                var random = new Random(seed);
                using var memory = new GuardedWindow(RingModel.WindowBytes(design, geometry));
                DriverRing driver = design.CreateDriver(memory.Window, geometry);
                DeviceRing device = design.CreateDevice(memory.Window, geometry);
                var request = new DeviceRequest(geometry.MaxSegments);
                var open = new List<ushort>();
                UntilBroken(() =>
                {
                    Submit(driver, random, geometry);
                    Corrupt(memory.Window, design.MemorySize(geometry), random);
                    for (int i = 0; i < 4 && device.TryTake(request); i++)
                    {
                        open.Add(request.Tag);
                    }

                    AnswerSome(device, design, open, random);
                    device.EnableKicks();
                    device.DisableKicks();
                });
            },
            iter: 100);
    }

    [Theory]
    [MemberData(nameof(Designs))]
    public void A_hostile_device_makes_the_driver_give_up_at_worst(string name)
    {
        RingDesign design = RingDesigns.Find(name)!;
        Gen.Select(Geometries, Gen.Int).Sample(
            (geometry, seed) =>
            {
                var random = new Random(seed);
                using var memory = new GuardedWindow(RingModel.WindowBytes(design, geometry));
                DriverRing driver = design.CreateDriver(memory.Window, geometry);
                var inFlight = new HashSet<ushort>();
                UntilBroken(() =>
                {
                    ushort token = (ushort)random.Next(geometry.Depth);
                    if (!inFlight.Contains(token) && driver.TrySubmit(token, default, [new Segment(0, Segment.PageSize)]))
                    {
                        inFlight.Add(token);
                    }

                    driver.Publish();
                    Corrupt(memory.Window, design.MemorySize(geometry), random);
                    for (int i = 0; i < 4 && driver.TryTakeCompletion(out Completion completion); i++)
                    {
                        Assert.True(inFlight.Remove(completion.Token), $"{name} answered {completion.Token}, which was not in flight");
                    }

                    driver.Acknowledge();
                    driver.EnableCalls();
                    driver.DisableCalls();
                });
            },
            iter: 100);
    }

    [Theory]
    [MemberData(nameof(Designs))]
    public void Sides_on_two_threads_agree_on_every_field(string name)
    {
        var settings = new LabSettings { Design = RingDesigns.Find(name)!, QueueSize = 64, Depth = 16, Batch = 4, Segments = 3, Queues = 2, Requests = 4_000 };
        foreach (Wakeup wakeup in Enum.GetValues<Wakeup>())
        {
            foreach (AnswerOrder order in Enum.GetValues<AnswerOrder>())
            {
                LabResult result = LabRun.Run(settings with { Wakeup = wakeup, Order = order });
                Assert.Equal(settings.Requests, result.Requests);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Designs))]
    public void A_request_allocates_nothing(string name)
    {
        RingDesign design = RingDesigns.Find(name)!;
        var geometry = new RingGeometry(16, 8, 3);
        using var memory = new GuardedWindow(RingModel.WindowBytes(design, geometry));
        DriverRing driver = design.CreateDriver(memory.Window, geometry);
        DeviceRing device = design.CreateDevice(memory.Window, geometry);
        var request = new DeviceRequest(geometry.MaxSegments);

        // The runtime itself allocates when it compiles something anew, so the least of several rounds counts.
        Assert.Equal(0, Enumerable.Range(0, 5).Min(_ => Allocated(() => RoundTrips(driver, device, request, 2_000))));
    }

    private static long Allocated(Action action)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        action();
        return GC.GetAllocatedBytesForCurrentThread() - before;
    }

    private static void RoundTrips(DriverRing driver, DeviceRing device, DeviceRequest request, int count)
    {
        ReadOnlySpan<Segment> segments = [new(0, Segment.PageSize), new(Segment.PageSize, Segment.PageSize), new(0, 512)];
        for (int i = 0; i < count; i++)
        {
            Assert.True(driver.TrySubmit((ushort)(i % 8), default, segments));
            driver.Publish();
            Assert.True(device.TryTake(request));
            device.Complete(request.Tag, 0, 0);
            device.Publish();
            Assert.True(driver.TryTakeCompletion(out _));
            driver.Acknowledge();
        }
    }

    private static void UntilBroken(Action step)
    {
        try
        {
            for (int i = 0; i < 200; i++)
            {
                step();
            }
        }
        catch (ErrnoException e)
        {
            Assert.Equal(Errno.EPROTO, e.Errno);
        }
    }

    private static void Submit(DriverRing driver, Random random, RingGeometry geometry)
    {
        try
        {
            Segment[] segments = [.. Enumerable.Range(0, random.Next(1, geometry.MaxSegments + 1)).Select(_ => new Segment(0, Segment.PageSize))];
            driver.TrySubmit((ushort)random.Next(geometry.Depth), new RequestHeader { Type = (uint)random.Next(2) }, segments);
            driver.Publish();
        }
        catch (ErrnoException)
        {
            // The honest driver has noticed what was done to its ring; the device still has to bear it.
        }
    }

    private static void AnswerSome(DeviceRing device, RingDesign design, List<ushort> open, Random random)
    {
        while (open.Count > 0 && random.Next(3) > 0)
        {
            int pick = design.IsInOrder ? 0 : random.Next(open.Count);
            device.Complete(open[pick], 0, 0);
            open.RemoveAt(pick);
        }

        device.Publish();
    }

    private static void Corrupt(SharedWindow window, long bytes, Random random)
    {
        for (int i = random.Next(3); i > 0; i--)
        {
            Span<byte> at = window.Span[(int)random.NextInt64(bytes)..];
            at[0] = random.Next(2) == 0 ? (byte)random.Next(256) : (byte)(at[0] + 1);
        }
    }
}
