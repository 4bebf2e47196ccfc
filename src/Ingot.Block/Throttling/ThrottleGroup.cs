using System.Diagnostics;
using Ingot.Io;

namespace Ingot.Block.Throttling;

/// <summary>
/// Rates that several nodes keep together (object throttle-group). A request takes its share at once and then waits until it is due, so that requests of
/// all members go in the order in which they came. Any thread may call it: members can live on different loops.
/// </summary>
/// <param name="limits">The rates, checked.</param>
public sealed class ThrottleGroup(ThrottleLimits limits)
{
    private const int BpsTotal = 0, BpsRead = 1, BpsWrite = 2, IopsTotal = 3, IopsRead = 4, IopsWrite = 5;

    private readonly Lock _lock = new();
    private readonly LeakyBucket[] _buckets = [.. limits.Rates.Select(r => new LeakyBucket(r.Average, r.Max, r.BurstSeconds))];
    private readonly bool _hasLimits = limits.Rates.Any(r => r.Average > 0);
    private double _lastSeconds;

    /// <summary>Waits until a request may go.</summary>
    /// <param name="isWrite">Whether it changes something.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The task.</returns>
    public IoTask WaitAsync(bool isWrite, long length)
    {
        if (!_hasLimits)
        {
            return IoTask.Completed;
        }

        double wait = Claim(Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency, isWrite, length);
        return wait <= 0 ? IoTask.Completed : EventLoop.Current.DelayAsync(TimeSpan.FromSeconds(wait));
    }

    /// <summary>Takes a request's share of the rates.</summary>
    /// <param name="seconds">The time now.</param>
    /// <param name="isWrite">Whether it changes something.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>Seconds until it may go.</returns>
    public double Claim(double seconds, bool isWrite, long length)
    {
        double requests = limits.IopsSize > 0 && length > limits.IopsSize ? length / (double)limits.IopsSize : 1;
        lock (_lock)
        {
            double passed = Math.Max(seconds - _lastSeconds, 0);
            _lastSeconds = Math.Max(seconds, _lastSeconds);
            Array.ForEach(_buckets, bucket => bucket.Leak(passed));
            return Math.Max(
                Math.Max(Take(BpsTotal, length), Take(isWrite ? BpsWrite : BpsRead, length)),
                Math.Max(Take(IopsTotal, requests), Take(isWrite ? IopsWrite : IopsRead, requests)));
        }
    }

    private double Take(int index, double units)
    {
        double wait = _buckets[index].Wait();
        _buckets[index].Add(units);
        return wait;
    }
}
