using CsCheck;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Memory;
using Xunit;

namespace Ingot.Tests.Drivers.VhostUserBlk;

/// <summary>The driver side of the ring against a device model in the same memory.</summary>
public sealed class VirtioBlkDriverTests
{
    private const int DiskSize = 1 << 20;

    [Fact]
    public void MovesTheRightBytesWhateverTheShapeOfTheRing()
    {
        Gen<VirtioBlkDriverOptions> shapes = Gen.Select(Gen.Int[2, 6], Gen.Int[1, 3], Gen.Bool, Gen.Bool, Gen.Int[1, 8], Gen.Int[0, 5]).Select((log, queues, indirect, events, segments, size) => new VirtioBlkDriverOptions
        {
            Peer = "model",
            QueueSize = 1 << log,
            QueueCount = queues,
            Features = VirtioFeatures.Version1 | (indirect ? VirtioFeatures.IndirectDescriptors : 0) | (events ? VirtioFeatures.EventIndex : 0),
            MaxSegments = segments,
            MaxSegmentSize = 512u << size,
            BouncePages = 64,
        });
        Gen.Select(shapes, Gen.Int).Sample((shape, seed) => Loop.Run(() => CompareWithModelAsync(shape, seed)), iter: 100, threads: 1);
    }

    [Fact]
    public void AllocatesNothingInAMillionRequests() => Run(async (driver, device) =>
    {
        using var data = new IoBuffer(4096);
        await ReadManyAsync(driver, data, 10_000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        await ReadManyAsync(driver, data, 1_000_000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    });

    [Fact]
    public void ReportsWhatTheDeviceReports() => Run(async (driver, device) =>
    {
        using var data = new IoBuffer(4096);
        device.Status = (byte)BlkStatus.IoError;
        ErrnoException e = await FailureOf(driver.ReadAsync(8, data.Vector));
        Assert.Equal(Errno.EIO, e.Errno);
        Assert.Contains("Reading 4096 bytes at offset 4096 on model", e.Message);
        device.Status = (byte)BlkStatus.Unsupported;
        Assert.Equal(Errno.ENOTSUP, await driver.FlushAsync().Status());
        device.Status = 77;
        Assert.Equal(Errno.EIO, await driver.WriteAsync(0, data.Vector).Status());
        device.Status = 0;
        await driver.FlushAsync();
        Assert.Equal(1, device.Flushes);
    });

    [Fact]
    public void RefusesAnIdOutsideOfTheTable() => RefusesLie((device, _) => device.PushUsed(0, 4711, 1), "descriptor 4711");

    [Fact]
    public void RefusesAnIdThatIsNotInFlight() => RefusesLie((device, idle) => device.PushUsed(0, idle, 1), "not the head of a request in flight");

    [Fact]
    public void RefusesAUsedIndexThatJumps() => RefusesLie((device, _) => device.SetUsedIndex(0, 1000), "moved its used index from 0 to 1000");

    [Fact]
    public void RefusesALengthBeyondTheRequest() => RefusesLie((device, idle) => device.PushUsed(0, idle - 1, uint.MaxValue), "claims to have written 4294967295 bytes");

    [Fact]
    public void FailsEverythingWhenThePeerGoes() => Run(async (driver, device) =>
    {
        using var data = new IoBuffer(4096);
        device.IsHolding = true;
        IoTask[] tasks = [.. Enumerable.Range(0, 100).Select(_ => driver.WriteAsync(0, data.Vector))];
        IoTask pause = driver.PauseAsync();
        IoTask late = driver.ReadAsync(0, data.Vector);
        driver.Fail(new ErrnoException(Errno.ENOTCONN, "model went away"));
        foreach (IoTask task in tasks)
        {
            Assert.Equal(Errno.ENOTCONN, await task.Status());
        }

        Assert.Equal(Errno.ENOTCONN, await late.Status());
        await pause;
        await driver.WaitChangesIdleAsync();
        Assert.Equal("model went away", (await FailureOf(driver.FlushAsync())).Message);
    });

    [Fact]
    public void HoldsRequestsBackDuringAPause() => Run(async (driver, device) =>
    {
        using var data = new IoBuffer(4096);
        IoTask early = driver.WriteAsync(0, data.Vector);
        await driver.PauseAsync();
        await early;
        long served = device.Served;
        IoTask late = driver.WriteAsync(0, data.Vector);
        await EventLoop.Current.DelayAsync(TimeSpan.Zero);
        Assert.Equal((served, 0), (device.Served, device.Pending));
        driver.Resume();
        await late;
    });

    private static async IoTask CompareWithModelAsync(VirtioBlkDriverOptions options, int seed)
    {
        using var driver = new VirtioBlkDriver(options);
        driver.Start();
        bool events = (options.Features & VirtioFeatures.EventIndex) != 0;
        using var device = new ModelDevice(driver, DiskSize, events, seed);
        using var shared = new SharedMemoryRegion("test", DiskSize);
        using var local = new IoBuffer(DiskSize);
        driver.Register(shared);
        var random = new Random(seed);
        int slice = DiskSize / 32;
        for (int round = 0; round < 4; round++)
        {
            random.NextBytes(local.Span);
            random.NextBytes(shared.Vector.SingleSpan);
            IoTask[] writes = [.. Enumerable.Range(0, 32).Select(i => driver.WriteAsync(SectorOf(i), Part(i)))];
            await AllAsync(writes);
            byte[] expected = new byte[DiskSize];
            for (int i = 0; i < 32; i++)
            {
                Part(i).CopyTo(expected.AsSpan(i * slice, (int)Part(i).Length));
                Assert.True(expected.AsSpan(i * slice, (int)Part(i).Length).SequenceEqual(device.Disk.AsSpan(i * slice, (int)Part(i).Length)));
                Part(i).Clear();
            }

            IoTask[] reads = [.. Enumerable.Range(0, 32).Select(i => driver.ReadAsync(SectorOf(i), Part(i)))];
            await AllAsync(reads);
            for (int i = 0; i < 32; i++)
            {
                byte[] back = new byte[Part(i).Length];
                Part(i).CopyTo(back);
                Assert.True(back.AsSpan().SequenceEqual(expected.AsSpan(i * slice, back.Length)));
            }
        }

        ulong SectorOf(int i) => (ulong)(i * slice / VirtioBlkConfig.SectorSize);

        IoVector Part(int i)
        {
            int length = Math.Min(driver.MaxRequest, 512 * (1 + (((i * 7) + (seed & 0xff)) % 64)));
            return i % 2 == 0 ? local.Slice(i * slice, length) : shared.Slice(i * slice, length);
        }
    }

    private static async IoTask AllAsync(IoTask[] tasks)
    {
        foreach (IoTask task in tasks)
        {
            await task;
        }
    }

    private static async IoTask ReadManyAsync(VirtioBlkDriver driver, IoBuffer data, int count)
    {
        for (int i = 0; i < count; i++)
        {
            await driver.ReadAsync(8, data.Vector);
        }
    }

    private static void RefusesLie(Action<ModelDevice, uint> lie, string message) => Run(async (driver, device) =>
    {
        using var data = new IoBuffer(4096);
        device.IsHolding = true;
        IoTask first = driver.ReadAsync(0, data.Vector);
        IoTask second = driver.WriteAsync(0, data.Vector);
        await EventLoop.Current.DelayAsync(TimeSpan.Zero);
        await EventLoop.Current.DelayAsync(TimeSpan.Zero);
        lie(device, 2); // heads 0 and 1 are in flight
        ErrnoException e = await FailureOf(first);
        Assert.Equal(Errno.EPROTO, e.Errno);
        Assert.StartsWith("model: ", e.Message);
        Assert.Contains(message, e.Message);
        Assert.Equal(Errno.EPROTO, await second.Status());
        Assert.Equal(Errno.EPROTO, await driver.FlushAsync().Status());
    });

    private static async IoTask<ErrnoException> FailureOf(IoTask task)
    {
        try
        {
            await task;
        }
        catch (ErrnoException e)
        {
            return e;
        }

        throw new InvalidOperationException("The request did not fail.");
    }

    private static void Run(Func<VirtioBlkDriver, ModelDevice, IoTask> test) => Loop.Run(async () =>
    {
        var features = VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex;
        using var driver = new VirtioBlkDriver(new VirtioBlkDriverOptions { Peer = "model", Features = features, QueueSize = 16, MaxSegments = 4, BouncePages = 64 });
        driver.Start();
        using var device = new ModelDevice(driver, DiskSize, eventIndex: true, seed: 1);
        await test(driver, device);
    });
}
