using CsCheck;
using Ingot.Io;
using Ingot.Testing;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Rings;
using Xunit;

namespace Ingot.Tests.Exports;

/// <summary>Random requests whose header, data and status are cut into descriptors at random, direct and indirect, against a byte array.</summary>
public class ChainPropertyTests
{
    private const int Sectors = 64;

    private static readonly Gen<(bool Writes, int Sector, int Count, bool Indirect, int[] Cuts, byte Fill)> Request =
        Gen.Select(Gen.Bool, Gen.Int[0, Sectors - 1], Gen.Int[1, 8], Gen.Bool, Gen.Int[1, 600].Array[0, 12], Gen.Byte)
            .Select((w, s, c, i, cuts, f) => (w, s, Math.Min(c, Sectors - s), i, cuts, f));

    [Fact]
    public void AnySplit_ReadsAndWritesTheSame() => Request.Array[1, 20].Sample(
        requests => ExportFixture.Run(new ArrayNode(new byte[Sectors * 512]), async fixture =>
        {
            var model = new byte[Sectors * 512];
            using GuestDriver guest = fixture.Connect();
            await guest.StartAsync();
            var driver = new BlkDriver(guest);
            foreach ((bool writes, int sector, int count, bool indirect, int[] cuts, byte fill) in requests)
            {
                driver.WriteHeader(0, writes ? BlkRequestType.Out : BlkRequestType.In, (ulong)sector);
                driver.Data(0, count * 512).Fill(fill);
                Lay(driver, writes, count * 512, indirect, cuts);
                driver.Kick();
                await guest.WaitUsedAsync();
                Assert.True(driver.Queue.TryTakeUsed(out UsedElement used));
                Assert.Equal(writes ? 1u : (uint)(count * 512) + 1, used.Length);
                Assert.Equal(0, driver.Status(0));
                Span<byte> range = model.AsSpan(sector * 512, count * 512);
                if (writes)
                {
                    driver.Data(0, count * 512).CopyTo(range);
                }
                else
                {
                    Assert.True(range.SequenceEqual(driver.Data(0, count * 512)));
                }
            }

            Assert.Equal(model, ((ArrayNode)fixture.Node).Data);
        }),
        iter: 100,
        threads: 1);

    [Fact]
    public void SteadyState_AllocatesNothing() => ExportFixture.Run(new ConstantNode(), async fixture =>
    {
        const int Batch = 32;
        const int Rounds = 1_000_000 / Batch;
        using GuestDriver guest = fixture.Connect();
        await guest.StartAsync();
        var driver = new BlkDriver(guest);
        var meter = new AllocationMeter(driver, Batch);
        EventLoop.Current.AddPoller(meter);
        await meter.RunAsync(1000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        await meter.RunAsync(Rounds);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        EventLoop.Current.RemovePoller(meter);
        // The wait for the end of the run is one object; a collection on another test's thread ends this thread's 8 KiB allocation buffer early, which counts.
        Assert.True(allocated < 32_768, $"{allocated} bytes in {Rounds * Batch} requests");
    });

    private static void Lay(BlkDriver driver, bool writes, int length, bool indirect, int[] cuts)
    {
        var parts = new List<(ulong Address, int Length, bool Writable)> { (BlkDriver.Address(0, 0), 16, false), (BlkDriver.Address(0, 4096), length, !writes), (BlkDriver.Address(0, 16), 1, true) };
        foreach (int cut in cuts)
        {
            int i = cut % parts.Count;
            (ulong address, int size, bool writable) = parts[i];
            int at = cut % Math.Max(size, 1);
            parts[i] = (address, at, writable);
            parts.Insert(i + 1, (address + (ulong)at, size - at, writable));
        }

        Span<Descriptor> table = indirect ? System.Runtime.InteropServices.MemoryMarshal.Cast<byte, Descriptor>(driver.Data(1, 4096)) : driver.Queue.Descriptors;
        for (int i = 0; i < parts.Count; i++)
        {
            DescriptorFlags flags = (parts[i].Writable ? DescriptorFlags.Write : 0) | (i + 1 < parts.Count ? DescriptorFlags.Next : 0);
            table[i] = new Descriptor { Address = parts[i].Address, Length = (uint)parts[i].Length, Flags = flags, Next = (ushort)(i + 1) };
        }

        if (indirect)
        {
            driver.Set(0, BlkDriver.Address(1, 4096), (uint)(16 * parts.Count), DescriptorFlags.Indirect, 0);
        }

        driver.Queue.MakeAvailable(0);
    }

    /// <summary>Drives a queue from the loop that serves it, so that one thread's allocations are all there are.</summary>
    private sealed class AllocationMeter(BlkDriver driver, int batch) : ILoopPoller
    {
        private IoCompletionSource? _done;
        private int _left;
        private int _open;

        public IoTask RunAsync(int rounds)
        {
            _left = rounds;
            _done = new IoCompletionSource();
            return _done.Task;
        }

        public bool Poll()
        {
            while (driver.Queue.TryTakeUsed(out _))
            {
                _open--;
            }

            if (_open > 0 || _done is null)
            {
                return _open > 0;
            }

            if (_left-- == 0)
            {
                IoCompletionSource done = _done;
                _done = null;
                EventLoop.Current.Post(done.SetResult);
                return true;
            }

            for (int slot = 0; slot < batch; slot++)
            {
                driver.Add(slot, BlkRequestType.In, (ulong)slot, 4096);
            }

            _open = batch;
            driver.Queue.Publish();
            return true;
        }

        public bool PrepareToSleep() => _done is null;

        public void Awake()
        {
        }
    }
}
