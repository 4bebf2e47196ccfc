using Ingot.Io;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Io;

public class IoTaskTests
{
    [Fact]
    public void Values_and_exceptions_cross_suspensions() => Loop.Run(async () =>
    {
        Assert.Equal(42, await AddLater(40, 2));
        string message = "";
        try
        {
            await FailLater();
        }
        catch (InvalidOperationException e)
        {
            message = e.Message;
        }

        Assert.Equal("later", message);
    });

    [Fact]
    public void A_task_awaited_twice_is_refused() => Loop.Run(async () =>
    {
        IoTask task = Later();
        await task;
        Assert.Throws<InvalidOperationException>(() => task.IsCompleted);
    });

    [Fact]
    public void Status_gives_the_error_number_without_throwing() => Loop.Run(async () =>
    {
        Assert.Equal(Errno.None, await Later().Status());
        Assert.Equal(Errno.ENOSPC, await IoTask.FromException(new ErrnoException(Errno.ENOSPC, "full")).Status());
    });

    [Fact]
    public async Task Posted_work_runs_in_order_on_the_loop()
    {
        using var loop = EventLoop.Start("test");
        var seen = new List<int>();
        for (int i = 0; i < 1000; i++)
        {
            int n = i;
            loop.Post(() => seen.Add(n));
        }

        await loop.RunAsync(() => Later());
        Assert.Equal(Enumerable.Range(0, 1000), seen);
    }

    [Fact]
    public void Suspending_allocates_nothing_once_the_pools_are_filled() => Loop.Run(async () =>
    {
        long before = 0;
        for (int i = 0; i < 20_000; i++)
        {
            if (i == 10_000)
            {
                before = GC.GetAllocatedBytesForCurrentThread();
            }

            await Nested(new YieldAwaitable(EventLoop.Current));
        }

        // The yield itself makes one continuation a turn in this test; the three suspended methods must add nothing to it.
        long perTurn = (GC.GetAllocatedBytesForCurrentThread() - before) / 10_000;
        Assert.True(perTurn <= 160, $"{perTurn} bytes a turn");
    });

    [Fact]
    public void A_mutex_is_handed_over_in_order() => Loop.Run(async () =>
    {
        var mutex = new LoopMutex();
        var order = new List<int>();
        await mutex.LockAsync();
        for (int i = 0; i < 3; i++)
        {
            Hold(mutex, order, i).Spawn();
        }

        Assert.Empty(order);
        mutex.Unlock();
        await EventLoop.Current.DelayAsync(TimeSpan.Zero);
        await mutex.LockAsync();
        Assert.Equal([0, 1, 2], order);
    });

    [Fact]
    public void Overlapping_ranges_wait_and_others_do_not() => Loop.Run(async () =>
    {
        var locks = new RangeLock();
        RangeLock.Held first = await locks.LockAsync(0, 10);
        IoTask<RangeLock.Held> overlapping = locks.LockAsync(5, 10);
        IoTask<RangeLock.Held> apart = locks.LockAsync(20, 10);
        Assert.False(overlapping.IsCompleted);
        Assert.True(apart.IsCompleted);
        (await apart).Dispose();
        first.Dispose();
        (await overlapping).Dispose();
        Assert.True(locks.IsFree);
    });

    private static async IoTask Hold(LoopMutex mutex, List<int> order, int n)
    {
        await mutex.LockAsync();
        order.Add(n);
        mutex.Unlock();
    }

    private static async IoTask Nested(YieldAwaitable yield) => await Middle(yield);

    private static async IoTask Middle(YieldAwaitable yield) => await Inner(yield);

    private static async IoTask Inner(YieldAwaitable yield) => await yield;

    private static IoTask Later() => EventLoop.Current.DelayAsync(TimeSpan.Zero);

    private static async IoTask<int> AddLater(int a, int b)
    {
        await Later();
        return a + b;
    }

    private static async IoTask FailLater()
    {
        await Later();
        throw new InvalidOperationException("later");
    }

    internal readonly struct YieldAwaitable(EventLoop loop)
    {
        public Awaiter GetAwaiter() => new(loop);

        internal readonly struct Awaiter(EventLoop loop) : ILoopAwaiter
        {
            public bool IsCompleted => false;

            public void GetResult()
            {
            }

            public void OnCompleted(IoContinuation waiter) => loop.Schedule(waiter);

            public void OnCompleted(Action continuation) => loop.Post(continuation);

            public void UnsafeOnCompleted(Action continuation) => loop.Post(continuation);
        }
    }
}
