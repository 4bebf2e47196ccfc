namespace Ingot.Rings.Memory;

/// <summary>Who touches shared memory.</summary>
public enum RingSide
{
    /// <summary>The side that asks.</summary>
    Driver,

    /// <summary>The side that answers.</summary>
    Device,
}

/// <summary>What one side did to shared memory.</summary>
/// <param name="Loads">Reads, of whatever size.</param>
/// <param name="Stores">Writes, of whatever size.</param>
/// <param name="Lines">Cache lines touched, each counted once a turn.</param>
/// <param name="Transfers">Times that a line had to come from the other side's cache, or to be taken away from it.</param>
public readonly record struct AccessCounts(long Loads, long Stores, long Lines, long Transfers);

/// <summary>
/// Two caches without limit under the MESI protocol, one for each side of a ring: counts what hardware would have to move, the same on every machine.
/// Both sides run on one thread, in turns.
/// </summary>
public sealed class CacheModel
{
    private const int LineShift = 6;

    [ThreadStatic]
    private static CacheModel? current;

    private readonly Dictionary<ulong, Line> _lines = [];
    private readonly HashSet<ulong>[] _turn = [[], []];
    private readonly AccessCounts[] _counts = new AccessCounts[2];

    private enum Line
    {
        DriverOnly = 1,
        DeviceOnly = 2,
        Shared = 3,
    }

    /// <summary>The model that rings made for counting report to, on this thread.</summary>
    public static CacheModel? Current
    {
        get => current;
        set => current = value;
    }

    /// <summary>Who is at work.</summary>
    public RingSide Side { get; set; }

    /// <summary>What a side has done so far.</summary>
    /// <param name="side">The side.</param>
    /// <returns>Totals.</returns>
    public AccessCounts Counts(RingSide side)
    {
        AccessCounts counts = _counts[(int)side];
        return counts with { Lines = counts.Lines + _turn[(int)side].Count };
    }

    /// <summary>Ends a turn of the side at work: a line touched again counts again.</summary>
    public void EndTurn()
    {
        ref AccessCounts counts = ref _counts[(int)Side];
        counts = counts with { Lines = counts.Lines + _turn[(int)Side].Count };
        _turn[(int)Side].Clear();
    }

    /// <summary>Forgets the counts, not what the caches hold.</summary>
    public void Reset()
    {
        Array.Clear(_counts);
        _turn[0].Clear();
        _turn[1].Clear();
    }

    internal void Load(ulong address, int bytes)
    {
        ref AccessCounts counts = ref _counts[(int)Side];
        counts = counts with { Loads = counts.Loads + 1 };
        Line own = Side == RingSide.Driver ? Line.DriverOnly : Line.DeviceOnly;
        for (ulong line = address >> LineShift; line <= (address + (ulong)bytes - 1) >> LineShift; line++)
        {
            Touch(line, held => (held & own) != 0 ? held : held | own);
        }
    }

    internal void Store(ulong address, int bytes)
    {
        ref AccessCounts counts = ref _counts[(int)Side];
        counts = counts with { Stores = counts.Stores + 1 };
        Line own = Side == RingSide.Driver ? Line.DriverOnly : Line.DeviceOnly;
        for (ulong line = address >> LineShift; line <= (address + (ulong)bytes - 1) >> LineShift; line++)
        {
            Touch(line, _ => own);
        }
    }

    private void Touch(ulong line, Func<Line, Line> change)
    {
        _turn[(int)Side].Add(line);
        bool known = _lines.TryGetValue(line, out Line held);
        Line now = change(held);
        _lines[line] = now;
        if (known && now != held)
        {
            ref AccessCounts counts = ref _counts[(int)Side];
            counts = counts with { Transfers = counts.Transfers + 1 };
        }
    }
}
