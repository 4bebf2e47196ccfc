namespace Ingot.Block.Throttling;

/// <summary>A rate and its bursts.</summary>
/// <param name="Average">Bytes or requests a second; 0 for no limit.</param>
/// <param name="Max">The same in bursts; 0 for none.</param>
/// <param name="BurstSeconds">How long a burst may take.</param>
public readonly record struct ThrottleRate(long Average, long Max, long BurstSeconds);

/// <summary>The rates of a throttle group, in QEMU's terms.</summary>
public sealed record ThrottleLimits
{
    /// <summary>The largest rate that can be given.</summary>
    public const long MaxValue = 1_000_000_000_000_000;

    private static readonly ThrottleRate Unlimited = new(0, 0, 1);

    /// <summary>Bytes, read and written.</summary>
    public ThrottleRate BpsTotal { get; init; } = Unlimited;

    /// <summary>Bytes read.</summary>
    public ThrottleRate BpsRead { get; init; } = Unlimited;

    /// <summary>Bytes written.</summary>
    public ThrottleRate BpsWrite { get; init; } = Unlimited;

    /// <summary>Requests of both kinds.</summary>
    public ThrottleRate IopsTotal { get; init; } = Unlimited;

    /// <summary>Requests to read.</summary>
    public ThrottleRate IopsRead { get; init; } = Unlimited;

    /// <summary>Requests to write.</summary>
    public ThrottleRate IopsWrite { get; init; } = Unlimited;

    /// <summary>A request of this many bytes counts as one, a longer one as more; 0 counts each as one.</summary>
    public long IopsSize { get; init; }

    /// <summary>All rates: bytes in total, read and written, then requests.</summary>
    public IReadOnlyList<ThrottleRate> Rates => [BpsTotal, BpsRead, BpsWrite, IopsTotal, IopsRead, IopsWrite];

    /// <summary>Takes limits out of options.</summary>
    /// <param name="options">The options.</param>
    /// <param name="prefix">What stands in front of each name: "x-", or nothing.</param>
    /// <returns>The limits, not checked yet.</returns>
    public static ThrottleLimits Take(OptionSet options, string prefix) => new()
    {
        BpsTotal = TakeRate(options, $"{prefix}bps-total"),
        BpsRead = TakeRate(options, $"{prefix}bps-read"),
        BpsWrite = TakeRate(options, $"{prefix}bps-write"),
        IopsTotal = TakeRate(options, $"{prefix}iops-total"),
        IopsRead = TakeRate(options, $"{prefix}iops-read"),
        IopsWrite = TakeRate(options, $"{prefix}iops-write"),
        IopsSize = TakeValue(options, $"{prefix}iops-size") ?? 0,
    };

    /// <summary>Refuses limits that contradict each other.</summary>
    public void Check()
    {
        if (Conflict(BpsTotal, BpsRead, BpsWrite, r => r.Average) || Conflict(IopsTotal, IopsRead, IopsWrite, r => r.Average)
            || Conflict(BpsTotal, BpsRead, BpsWrite, r => r.Max) || Conflict(IopsTotal, IopsRead, IopsWrite, r => r.Max))
        {
            throw new OptionException("bps/iops/max total values and read/write values cannot be used at the same time");
        }

        if (IopsSize > 0 && IopsTotal.Average == 0 && IopsRead.Average == 0 && IopsWrite.Average == 0)
        {
            throw new OptionException("iops size requires an iops value to be set");
        }

        foreach (ThrottleRate rate in Rates)
        {
            Check(rate);
        }
    }

    private static bool Conflict(ThrottleRate total, ThrottleRate read, ThrottleRate write, Func<ThrottleRate, long> part)
        => part(total) > 0 && (part(read) > 0 || part(write) > 0);

    private static void Check(ThrottleRate rate)
    {
        string? message = rate.Average > MaxValue || rate.Max > MaxValue ? $"bps/iops/max values must be within [0, {MaxValue}]"
            : rate.BurstSeconds == 0 ? "the burst length cannot be 0"
            : rate.BurstSeconds > 1 && rate.Max == 0 ? "burst length set without burst rate"
            : rate.Max > 0 && rate.BurstSeconds > MaxValue / rate.Max ? "burst length too high for this burst rate"
            : rate.Max > 0 && rate.Average == 0 ? "bps_max/iops_max require corresponding bps/iops values"
            : rate.Max > 0 && rate.Max < rate.Average ? "bps_max/iops_max cannot be lower than bps/iops"
            : null;
        if (message is not null)
        {
            throw new OptionException(message);
        }
    }

    private static ThrottleRate TakeRate(OptionSet options, string name)
        => new(TakeValue(options, name) ?? 0, TakeValue(options, $"{name}-max") ?? 0, TakeValue(options, $"{name}-max-length") ?? 1);

    private static long? TakeValue(OptionSet options, string name)
        => options.TakeNumber(name) is not { } value ? null : value >= 0 ? value : throw new OptionException("Property values cannot be negative");
}
