using Ingot.Linux;

namespace Ingot.Rings.Lab;

/// <summary>How a side learns that the other has done something.</summary>
public enum Wakeup
{
    /// <summary>It looks all the time.</summary>
    Polling,

    /// <summary>It looks, and when there is nothing sleeps on an eventfd.</summary>
    EventFd,
}

/// <summary>In which order the device answers.</summary>
public enum AnswerOrder
{
    /// <summary>As asked.</summary>
    InOrder,

    /// <summary>Each batch backwards; designs that promise the order keep it all the same.</summary>
    Reversed,
}

/// <summary>One workload: the same for every design.</summary>
public sealed record LabSettings
{
    /// <summary>The most queue pairs.</summary>
    public const int MaxQueues = 4;

    /// <summary>The design to run.</summary>
    public required RingDesign Design { get; init; }

    /// <summary>Entries of each ring.</summary>
    public int QueueSize { get; init; } = 256;

    /// <summary>Requests in flight on each queue pair.</summary>
    public int Depth { get; init; } = 64;

    /// <summary>The most requests and answers that are shown to the other side at once.</summary>
    public int Batch { get; init; } = 16;

    /// <summary>Data segments of a request, 4096 bytes each.</summary>
    public int Segments { get; init; } = 1;

    /// <summary>Queue pairs; one thread on each side goes around all of them.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Requests to measure, on all queue pairs together.</summary>
    public long Requests { get; init; } = 1_000_000;

    /// <summary>How sides wait.</summary>
    public Wakeup Wakeup { get; init; }

    /// <summary>In which order the device answers.</summary>
    public AnswerOrder Order { get; init; }

    /// <summary>True for sides in two processes, false for two threads.</summary>
    public bool Processes { get; init; }

    /// <summary>The sizes of each queue pair.</summary>
    public RingGeometry Geometry => new(QueueSize, Depth, Segments);

    /// <summary>Bytes of shared memory of each queue pair: its ring, then the addresses of its data, which nobody touches.</summary>
    public long PairBytes => DataOffset + Workload.DataBytes;

    internal long DataOffset => (Design.MemorySize(Geometry) + Segment.PageSize - 1) & -(long)Segment.PageSize;

    /// <summary>Says what is out of range.</summary>
    /// <exception cref="ErrnoException">EINVAL.</exception>
    public void Check()
    {
        _ = Geometry;
        Require(Batch >= 1 && Batch <= Depth, $"Batch {Batch} is not from 1 to the depth of {Depth}");
        Require(Queues is >= 1 and <= MaxQueues, $"{Queues} queue pairs are not from 1 to {MaxQueues}");
        Require(Requests >= 1, $"{Requests} requests are too few");
    }

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new ErrnoException(Errno.EINVAL, otherwise);
        }
    }
}
