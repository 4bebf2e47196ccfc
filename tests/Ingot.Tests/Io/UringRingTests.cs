using Ingot.Io;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Io;

/// <summary>What the ring uses of io_uring's newer features, and that everything works without each of them.</summary>
public class UringRingTests
{
    private const int Often = 100;

    public static TheoryData<int> Downgrades => [0, 1, 2];

    [Theory]
    [MemberData(nameof(Downgrades))]
    public void Transfers_waits_and_wakeups_work_with_what_each_kernel_has(int downgrade) => Run(downgrade, async () =>
    {
        using FileDescriptor file = TemporaryFile();
        using var data = new IoBuffer(4096);
        using var bell = new EventFd();
        IoRing ring = EventLoop.Current.Ring;
        for (int i = 0; i < Often; i++)
        {
            data.Span.Fill((byte)i);
            await ring.WriteAsync(file, i * 4096, data.Vector);
            data.Span.Clear();
            await ring.ReadAsync(file, i * 4096, data.Vector);
            Assert.Equal((byte)i, data.Span[4095]);
        }

        await ring.SyncAsync(file);
        _ = Task.Run(bell.Signal);
        await ring.PollAsync(bell.Descriptor, Libc.POLLIN);
        Assert.Equal(7, await EventLoop.Current.WaitAsync(Task.Run(() => 7)));
        if (ring is UringRing uring)
        {
            Assert.Equal(downgrade < 2, uring.IsRegistered);
        }
    });

    [Fact]
    public void A_file_used_often_is_registered_until_it_is_closed() => Run(0, async () =>
    {
        if (EventLoop.Current.Ring is not UringRing ring)
        {
            return;
        }

        FileDescriptor file = TemporaryFile();
        await UseAsync(file);
        Assert.Equal(1, ring.FixedFileCount);
        int number = file.Value;
        file.Dispose();
        Assert.Equal(0, ring.FixedFileCount);

        // Another file of the same number is another file.
        using FileDescriptor next = TemporaryFile();
        Assert.Equal(number, next.Value);
        await UseAsync(next);
        Assert.Equal(1, ring.FixedFileCount);
    });

    [Fact]
    public async Task Every_loop_lets_go_of_a_file_that_one_closes()
    {
        using EventLoop first = EventLoop.Start("first");
        using EventLoop second = EventLoop.Start("second");
        FileDescriptor file = TemporaryFile();
        await first.RunAsync(() => UseAsync(file));
        await second.RunAsync(() => UseAsync(file));
        await first.RunAsync(() =>
        {
            file.Dispose();
            return IoTask.Completed;
        });
        foreach (EventLoop loop in (EventLoop[])[first, second])
        {
            int count = await loop.RunAsync(() => new IoTask<int>((loop.Ring as UringRing)?.FixedFileCount ?? 0));
            Assert.Equal(0, count);
        }
    }

    [Fact]
    public void Registered_memory_is_used_and_given_up_by_its_last_user() => Run(0, async () =>
    {
        const int Half = 32 << 10;
        if (EventLoop.Current.Ring is not UringRing ring)
        {
            return;
        }

        using var data = new IoBuffer(2 * Half);
        using FileDescriptor file = TemporaryFile();
        Assert.Equal(Errno.None, Register(ring, data, Half));
        Assert.Equal(Errno.None, Register(ring, data, Half));
        Assert.Equal(Errno.EEXIST, Register(ring, data, 4096));
        Assert.Equal(Errno.EFAULT, RegisterNothing(ring));
        for (int users = 2; users >= 0; users--)
        {
            Assert.Equal(users > 0 ? Half : 0, ring.FixedMemory);

            // Within, across the end, and outside of what is registered.
            await CopyAsync(file, data, 512, Half - 512);
            await CopyAsync(file, data, Half - 512, 1024);
            await CopyAsync(file, data, Half, 4096);
            Unregister(ring, data, Half);
        }
    });

    [Fact]
    public void What_is_ready_runs_before_the_kernel_is_called() => Run(0, async () =>
    {
        EventLoop loop = EventLoop.Current;
        await loop.DelayAsync(TimeSpan.Zero);
        var mutex = new LoopMutex();
        long turn = loop.Turns;
        int done = 0;
        for (int i = 0; i < 10; i++)
        {
            HoldAsync().Spawn();
        }

        await loop.DelayAsync(TimeSpan.Zero);
        Assert.Equal(10, done);
        Assert.Equal(turn + 1, loop.Turns);

        async IoTask HoldAsync()
        {
            await mutex.LockAsync();
            done++;
            mutex.Unlock();
        }
    });

    [Theory]
    [InlineData(IoEngine.Auto)]
    [InlineData(IoEngine.Threads)]
    public void A_file_in_memory_answers_at_once_within_bounds(IoEngine engine) => Loop.Run(
        async () =>
        {
            using FileDescriptor file = MemoryFile(1 << 20);
            using var data = new IoBuffer(128 << 10);
            IoRing ring = EventLoop.Current.Ring;
            Assert.True(Libc.IsInMemory(file.Value));
            using var device = new FileDescriptor(Libc.open("/dev/null", Libc.O_RDWR, 0));
            Assert.False(Libc.IsInMemory(device.Value));

            IoVector block = data.Vector.Slice(0, 4096);
            data.Span[..4096].Fill(7);
            Assert.True(ring.TryWriteNow(file, 8192, block));
            data.Span[..4096].Clear();
            Assert.True(ring.TryReadNow(file, 8192, block));
            Assert.Equal(7, data.Span[4095]);
            Assert.False(ring.TryReadNow(file, 0, data.Vector)); // long
            Assert.False(ring.TryReadNow(file, (1 << 20) - 512, block)); // over the end
            Assert.False(ring.TryReadNow(device, 0, block)); // failed

            int count = 0;
            while (ring.TryReadNow(file, 0, block))
            {
                count++;
            }

            Assert.InRange(count, 1000, 4000);
            await EventLoop.Current.DelayAsync(TimeSpan.Zero);
            Assert.True(ring.TryReadNow(file, 0, block));
        },
        engine);

    private static void Run(int downgrade, Func<IoTask> test) => EventLoop.RunMain(
        async () =>
        {
            await test();
            return 0;
        },
        new EventLoopOptions { IoUringDowngrade = downgrade });

    private static unsafe Errno Register(IoRing ring, IoBuffer data, int length)
    {
        fixed (byte* start = data.Span)
        {
            return ring.RegisterMemory(start, length); // unmanaged: it does not move
        }
    }

    private static unsafe Errno RegisterNothing(IoRing ring) => ring.RegisterMemory((byte*)4096, 4096);

    private static unsafe void Unregister(IoRing ring, IoBuffer data, int length)
    {
        fixed (byte* start = data.Span)
        {
            ring.UnregisterMemory(start, length);
        }
    }

    private static async IoTask CopyAsync(FileDescriptor file, IoBuffer data, int offset, int length)
    {
        byte[] bytes = new byte[length];
        Random.Shared.NextBytes(bytes);
        bytes.CopyTo(data.Span[offset..]);
        await EventLoop.Current.Ring.WriteAsync(file, 4096, data.Slice(offset, length), durable: length < 4096);
        data.Span.Slice(offset, length).Clear();
        await EventLoop.Current.Ring.ReadAsync(file, 4096, data.Slice(offset, length));
        Assert.True(data.Span.Slice(offset, length).SequenceEqual(bytes));
    }

    private static async IoTask UseAsync(FileDescriptor file)
    {
        using var data = new IoBuffer(4096);
        for (int i = 0; i < Often; i++)
        {
            await EventLoop.Current.Ring.WriteAsync(file, 0, data.Vector);
        }
    }

    private static FileDescriptor TemporaryFile()
        => new(Libc.open(Path.GetTempPath(), Libc.O_RDWR | Libc.O_TMPFILE, 0x180)) { Name = "temporary" };

    private static FileDescriptor MemoryFile(long length)
    {
        var file = new FileDescriptor(Libc.memfd_create("test", Libc.MFD_CLOEXEC));
        Assert.Equal(0, Libc.ftruncate(file.Value, length));
        return file;
    }
}
