namespace Ingot.Testing;

/// <summary>What a logged operation does to the content of a disk.</summary>
public enum LoggedKind
{
    /// <summary>Bytes were written.</summary>
    Write,

    /// <summary>Zeroes were written.</summary>
    Zero,

    /// <summary>A range was given up: it holds anything from then on.</summary>
    Discard,

    /// <summary>The size was changed.</summary>
    Resize,
}

/// <summary>One change of a disk.</summary>
/// <param name="Disk">The node it went to.</param>
/// <param name="Kind">What it does.</param>
/// <param name="Offset">Where; the new size for a resize.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Bytes">What was written; null for all but writes.</param>
/// <param name="IsFua">True when it is durable once it has completed.</param>
/// <param name="Issued">The moment at which it was issued.</param>
public sealed record LoggedChange(RecordingNode Disk, LoggedKind Kind, long Offset, long Length, byte[]? Bytes, bool IsFua, int Issued)
{
    /// <summary>The moment at which it had completed; <see cref="int.MaxValue"/> before.</summary>
    public int Completed { get; internal set; } = int.MaxValue;
}

/// <summary>A flush of a disk: all that had completed when it was issued is durable when it has completed.</summary>
/// <param name="Disk">The node it went to.</param>
/// <param name="Issued">The moment at which it was issued.</param>
/// <param name="Completed">The moment at which it had completed.</param>
public sealed record LoggedFlush(RecordingNode Disk, int Issued, int Completed);

/// <summary>
/// What happened to one disk, or to several that a power cut hits together. Time is a counter of moments; whoever drives the disks takes moments, too,
/// to remember what it knew when (<see cref="Tick"/>).
/// </summary>
public sealed class WriteLog
{
    private readonly List<LoggedChange> _changes = [];
    private readonly List<LoggedFlush> _flushes = [];

    /// <summary>Now.</summary>
    public int Now { get; private set; }

    /// <summary>All changes in the order in which they were issued.</summary>
    public IReadOnlyList<LoggedChange> Changes => _changes;

    /// <summary>All flushes in the order in which they completed.</summary>
    public IReadOnlyList<LoggedFlush> Flushes => _flushes;

    /// <summary>Takes a moment.</summary>
    /// <returns>It; later than all before.</returns>
    public int Tick() => ++Now;

    internal void Add(LoggedChange change) => _changes.Add(change);

    internal void Add(LoggedFlush flush) => _flushes.Add(flush);
}
