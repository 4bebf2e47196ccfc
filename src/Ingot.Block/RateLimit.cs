using System.Diagnostics;
using Ingot.Io;

namespace Ingot.Block;

/// <summary>Spreads bytes over time: each claim pays for itself by moving the time at which the next one may start.</summary>
/// <param name="bytesPerSecond">The rate; 0 for no limit.</param>
internal sealed class RateLimit(long bytesPerSecond)
{
    private long _next = Stopwatch.GetTimestamp();

    /// <summary>Waits until the bytes may flow.</summary>
    /// <param name="bytes">How many.</param>
    /// <returns>The task.</returns>
    internal IoTask WaitAsync(long bytes)
    {
        if (bytesPerSecond <= 0)
        {
            return IoTask.Completed;
        }

        long now = Stopwatch.GetTimestamp();
        long start = Math.Max(now, _next);
        _next = start + (long)(bytes / (double)bytesPerSecond * Stopwatch.Frequency);
        return start <= now ? IoTask.Completed : EventLoop.Current.DelayAsync(Stopwatch.GetElapsedTime(now, start));
    }
}
