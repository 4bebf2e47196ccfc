namespace Ingot.Block.Throttling;

/// <summary>One rate that a throttle group keeps: what flows in raises levels that leak away at the rates allowed. All amounts are bytes or requests.</summary>
/// <param name="average">What leaks away in a second; 0 for no limit.</param>
/// <param name="max">The rate of bursts; 0 for none.</param>
/// <param name="burstSeconds">How long a burst at that rate may take.</param>
internal sealed class LeakyBucket(double average, double max, long burstSeconds)
{
    // Without bursts a tenth of a second's worth may still come at once: one request at a time would be much slower than the limit.
    private const double Slack = 10;

    private double _level;
    private double _burstLevel;

    /// <summary>Time passes.</summary>
    /// <param name="seconds">How much.</param>
    internal void Leak(double seconds)
    {
        _level = Math.Max(_level - (average * seconds), 0);
        _burstLevel = Math.Max(_burstLevel - (max * seconds), 0);
    }

    /// <summary>How long what comes next must wait.</summary>
    /// <returns>Seconds.</returns>
    internal double Wait()
    {
        if (average == 0)
        {
            return 0;
        }

        double excess = _level - (max == 0 ? average / Slack : max * burstSeconds);
        if (excess > 0)
        {
            return excess / average;
        }

        double burst = _burstLevel - (max / Slack);
        return burstSeconds > 1 && burst > 0 ? burst / max : 0;
    }

    /// <summary>Lets something in.</summary>
    /// <param name="units">How much.</param>
    internal void Add(double units)
    {
        if (average > 0)
        {
            _level += units;
            _burstLevel += burstSeconds > 1 ? units : 0;
        }
    }
}
