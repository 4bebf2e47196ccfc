using System.Diagnostics;

namespace Ingot.Io;

/// <summary>The timers of one loop, soonest first.</summary>
internal sealed class TimerQueue
{
    private readonly PriorityQueue<IoCompletionSource, long> _timers = new();

    /// <summary>Nanoseconds until the next timer; -1 when there is none.</summary>
    internal long NextNanoseconds
    {
        get
        {
            if (!_timers.TryPeek(out _, out long due))
            {
                return -1;
            }

            long ticks = Math.Max(0, due - Stopwatch.GetTimestamp());
            return (long)(ticks * (1_000_000_000.0 / Stopwatch.Frequency));
        }
    }

    internal IoTask Add(TimeSpan delay)
    {
        var timer = new IoCompletionSource();
        _timers.Enqueue(timer, Stopwatch.GetTimestamp() + (long)(delay.TotalSeconds * Stopwatch.Frequency));
        return timer.Task;
    }

    internal void Fire(EventLoop loop)
    {
        while (_timers.TryPeek(out _, out long due) && due <= Stopwatch.GetTimestamp())
        {
            loop.Schedule(new TimerContinuation(_timers.Dequeue()));
        }
    }

    private sealed class TimerContinuation(IoCompletionSource timer) : IoContinuation
    {
        protected internal override void Resume() => timer.SetResult();
    }
}
