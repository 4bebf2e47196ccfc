using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.VhostUserBlk;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.Memory;
using Xunit;

namespace Ingot.Tests.Drivers.VhostUserBlk;

/// <summary>Our client against a real qemu-storage-daemon.</summary>
public sealed class StorageDaemonTests
{
    private const long Size = 64 << 20;

    [Fact]
    public void ReadsBackWhatItWrote() => Run(Size, async (node, daemon) =>
    {
        using var data = new IoBuffer(1 << 16);
        using var back = new IoBuffer(1 << 16);
        new Random(1).NextBytes(data.Span);
        await node.WriteAsync(1 << 20, data.Vector);
        await node.FlushAsync();
        await node.ReadAsync(1 << 20, back.Vector);
        Assert.True(data.Span.SequenceEqual(back.Span));
        Assert.True(data.Span.SequenceEqual(daemon.ReadImage(1 << 20, data.Length)));
        Assert.Equal(Size, node.Length);
    });

    [Fact]
    public void MapsItsBytesToThemselves() => Run(Size, async (node, _)
        => Assert.Equal(
            new Extent(4096, 8192, ExtentFlags.Data | ExtentFlags.Allocated | ExtentFlags.OffsetValid, 4096, node),
            await node.GetExtentAsync(4096, 8192)));

    [Fact]
    public void TransfersMoreThanARequestHolds() => Run(Size, async (node, daemon) =>
    {
        using var data = new IoBuffer(24 << 20);
        using var back = new IoBuffer(24 << 20);
        new Random(2).NextBytes(data.Span);
        await node.WriteAsync(4096, data.Vector);
        await node.ReadAsync(4096, back.Vector);
        Assert.True(data.Span.SequenceEqual(back.Span));
        Assert.True(data.Span.SequenceEqual(daemon.ReadImage(4096, data.Length)));
    });

    [Fact]
    public void ServesAnyByteRange() => Run(1 << 20, async (node, daemon) =>
    {
        var model = new byte[1 << 20];
        var random = new Random(3);
        using var data = new IoBuffer(20000);
        for (int i = 0; i < 300; i++)
        {
            int offset = random.Next(model.Length - data.Length);
            int length = random.Next(1, data.Length);
            if (random.Next(2) == 0)
            {
                random.NextBytes(data.Span[..length]);
                data.Span[..length].CopyTo(model.AsSpan(offset));
                await node.WriteAsync(offset, data.Slice(0, length));
            }
            else
            {
                await node.ReadAsync(offset, data.Slice(0, length));
                Assert.True(data.Span[..length].SequenceEqual(model.AsSpan(offset, length)));
            }
        }

        Assert.True(model.AsSpan().SequenceEqual(daemon.ReadImage(0, model.Length)));
    });

    [Fact]
    public void KeepsWhatNeighboursInABlockWriteAtTheSameTime() => Run(1 << 20, async (node, daemon) =>
    {
        const int Count = 100, Length = 100;
        using var data = new IoBuffer(Count * Length);
        using var whole = new IoBuffer(1024);
        new Random(5).NextBytes(data.Span);
        whole.Span.Fill(0xee);
        var tasks = new List<IoTask>();
        for (int i = 0; i < Count; i++)
        {
            tasks.Add(node.WriteAsync(i * Length, data.Slice(i * Length, Length)));
            tasks.Add(node.WriteAsync(65536 + (i * whole.Length), whole.Vector));
        }

        foreach (IoTask task in tasks)
        {
            await task;
        }

        Assert.True(data.Span.SequenceEqual(daemon.ReadImage(0, data.Length)));
        Assert.DoesNotContain(daemon.ReadImage(65536, Count * whole.Length), b => b != 0xee);
    });

    [Fact]
    public void ServesAnyByteRangeOfLargeBlocks() => Run(1 << 20, async (node, daemon) =>
    {
        Assert.Equal(4096, node.Limits.RequestAlignment);
        using var data = new IoBuffer(10000);
        data.Span.Fill(7);
        await node.WriteAsync(5000, data.Vector);
        await node.WriteZeroesAsync(6000, 5000);
        using var back = new IoBuffer(12000);
        await node.ReadAsync(4000, back.Vector);
        byte[] expected = [.. new byte[1000], .. Enumerable.Repeat((byte)7, 1000), .. new byte[5000], .. Enumerable.Repeat((byte)7, 4000), .. new byte[1000]];
        Assert.Equal(expected, back.Span.ToArray());
    }, "writable=on,logical-block-size=4096");

    [Fact]
    public void WritesZeroesAndDiscards() => Run(Size, async (node, daemon) =>
    {
        Assert.Equal(BlockFeatures.Write | BlockFeatures.FastZero | BlockFeatures.Discard, node.Features);
        using var data = new IoBuffer(4 << 20);
        data.Span.Fill(0xaa);
        await node.WriteAsync(0, data.Vector);
        await node.WriteZeroesAsync(1 << 20, 1 << 20, ZeroFlags.MayUnmap);
        await node.DiscardAsync(2 << 20, 1 << 20);
        await node.ReadAsync(0, data.Vector);
        Assert.False(data.Span[..(1 << 20)].ContainsAnyExcept((byte)0xaa));
        Assert.False(data.Span.Slice(1 << 20, 1 << 20).ContainsAnyExcept((byte)0));
        Assert.False(data.Span[(3 << 20)..].ContainsAnyExcept((byte)0xaa));
    });

    [Fact]
    public void KeepsManyRequestsInFlight() => Run(Size, async (node, daemon) =>
    {
        const int Depth = 300;
        using var data = new IoBuffer(Depth * 4096);
        new Random(4).NextBytes(data.Span);
        var tasks = new IoTask[Depth];
        for (int i = 0; i < Depth; i++)
        {
            tasks[i] = node.WriteAsync(i * 8192L, data.Slice(i * 4096, 4096));
        }

        foreach (IoTask task in tasks)
        {
            await task;
        }

        using var back = new IoBuffer(4096);
        for (int i = 0; i < Depth; i++)
        {
            await node.ReadAsync(i * 8192L, back.Vector);
            Assert.True(back.Span.SequenceEqual(data.Span.Slice(i * 4096, 4096)));
        }
    });

    [Fact]
    public void UsesRegisteredMemoryInPlace() => Run(Size, async (node, daemon) =>
    {
        using var region = new SharedMemoryRegion("test", 3 << 20);
        await node.RegisterAsync(region);
        region.Vector.Fill(0x5c);
        await node.WriteAsync(0, region.Slice(0, 2 << 20));
        region.Vector.Clear();
        await node.ReadAsync(0, region.Slice(1 << 20, 2 << 20));
        Assert.True(region.Slice(0, 1 << 20).IsZero());
        Assert.False(region.Slice(1 << 20, 2 << 20).SingleSpan.ContainsAnyExcept((byte)0x5c));
        await node.UnregisterAsync(region);
        await node.ReadAsync(0, region.Slice(0, 4096));
        Assert.False(region.Slice(0, 4096).SingleSpan.ContainsAnyExcept((byte)0x5c));
    });

    [Fact]
    public void IsReadOnlyWhenTheDeviceIs() => Run(Size, async (node, daemon) =>
    {
        using var data = new IoBuffer(4096);
        await node.ReadAsync(0, data.Vector);
        Assert.True(node.IsReadOnly);
    }, "writable=off");

    [Fact]
    public void FailsWhatIsInFlightWhenTheServerGoes() => Run(Size, async (node, daemon) =>
    {
        using var data = new IoBuffer(4096);
        IoTask[] tasks = [.. Enumerable.Range(0, 64).Select(i => node.WriteAsync(i * 4096, data.Vector))];
        daemon.Kill();
        int failed = 0;
        foreach (IoTask task in tasks)
        {
            failed += await task.Status() == Errno.None ? 0 : 1;
        }

        ErrnoException e = await ThrowsAsync(() => node.ReadAsync(0, data.Vector));
        Assert.Equal(Errno.ENOTCONN, e.Errno);
        Assert.Contains(daemon.SocketPath, e.Message);
        Assert.Equal(64, failed);
    });

    [Fact]
    public void ReconnectsOnRequest() => Run(Size, async (node, daemon) =>
    {
        using var data = new IoBuffer(4096);
        data.Span.Fill(9);
        await node.WriteAsync(0, data.Vector);
        await node.ReconnectAsync();
        data.Span.Clear();
        await node.ReadAsync(0, data.Vector);
        Assert.False(data.Span.ContainsAnyExcept((byte)9));
    });

    [Fact]
    public void RefusesMoreQueuesThanTheServerHas()
    {
        using StorageDaemon daemon = StorageDaemon.StartOrSkip(Size);
        ErrnoException e = Assert.Throws<ErrnoException>(() => EventLoop.RunMain(async () =>
        {
            await VhostUserBlkNode.OpenAsync(new VhostUserBlkOptions(daemon.SocketPath, QueueCount: 3), OpenFlags.ReadWrite);
            return 0;
        }));
        Assert.Contains("has only 2", e.Message);
    }

    private static async IoTask<ErrnoException> ThrowsAsync(Func<IoTask> action)
    {
        try
        {
            await action();
        }
        catch (ErrnoException e)
        {
            return e;
        }

        throw new InvalidOperationException("Nothing was thrown.");
    }

    private static void Run(long size, Func<VhostUserBlkNode, StorageDaemon, IoTask> test, string export = "writable=on,num-queues=2")
    {
        using StorageDaemon daemon = StorageDaemon.StartOrSkip(size, export);
        EventLoop.RunMain(async () =>
        {
            var options = new VhostUserBlkOptions(daemon.SocketPath, export.Contains("num-queues=2", StringComparison.Ordinal) ? 2 : 1);
            VhostUserBlkNode node = await VhostUserBlkNode.OpenAsync(options, OpenFlags.ReadWrite);
            await test(node, daemon);
            await node.CloseAsync();
            return 0;
        });
    }
}
