using Ingot.Io;
using Xunit;

namespace Ingot.Tests.Io;

/// <summary>Shares go together, the whole goes alone, nobody is overtaken.</summary>
public class SharedMutexTests
{
    [Fact]
    public void Shares_wait_for_the_whole_and_the_whole_for_them()
        => Loop.Run(async () =>
        {
            var mutex = new SharedMutex();
            var order = new List<string>();
            await mutex.LockShareAsync();
            await mutex.LockShareAsync();
            IoTask whole = WholeAsync(mutex, order);
            IoTask late = ShareAsync(mutex, order);
            order.Add("first");
            mutex.UnlockShare();
            await EventLoop.Current.DelayAsync(TimeSpan.Zero);
            order.Add("second");
            mutex.UnlockShare();
            await whole;
            await late;
            Assert.Equal(["first", "second", "whole", "share"], order);
            await mutex.LockAsync();
            mutex.Unlock();
        });

    private static async IoTask WholeAsync(SharedMutex mutex, List<string> order)
    {
        await mutex.LockAsync();
        await EventLoop.Current.DelayAsync(TimeSpan.Zero);
        order.Add("whole");
        mutex.Unlock();
    }

    private static async IoTask ShareAsync(SharedMutex mutex, List<string> order)
    {
        await mutex.LockShareAsync();
        order.Add("share");
        mutex.UnlockShare();
    }
}
