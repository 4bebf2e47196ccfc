using Ingot.Linux;

namespace Ingot.Rings;

/// <summary>The sizes of a queue pair; both sides have the same.</summary>
public sealed record RingGeometry
{
    /// <summary>The largest queue: VIRTIO's limit.</summary>
    public const int MaxQueueSize = 32768;

    /// <summary>The most segments of a request that the lab goes to.</summary>
    public const int SegmentLimit = 128;

    /// <summary>Sizes of a queue pair.</summary>
    /// <param name="queueSize">Entries of the ring, a power of two.</param>
    /// <param name="depth">Requests that the driver may have in flight; tokens are below.</param>
    /// <param name="maxSegments">The most segments of a request.</param>
    /// <exception cref="ErrnoException">EINVAL: one is out of range.</exception>
    public RingGeometry(int queueSize, int depth, int maxSegments)
    {
        QueueSize = queueSize is >= 2 and <= MaxQueueSize && (queueSize & (queueSize - 1)) == 0
            ? queueSize
            : throw new ErrnoException(Errno.EINVAL, $"Queue size {queueSize} is not a power of two from 2 to {MaxQueueSize}");
        Depth = depth is >= 1 and <= MaxQueueSize
            ? depth
            : throw new ErrnoException(Errno.EINVAL, $"Depth {depth} is not from 1 to {MaxQueueSize}");
        MaxSegments = maxSegments is >= 1 and <= SegmentLimit
            ? maxSegments
            : throw new ErrnoException(Errno.EINVAL, $"{maxSegments} segments a request are not from 1 to {SegmentLimit}");
    }

    /// <summary>Entries of the ring, a power of two.</summary>
    public int QueueSize { get; }

    /// <summary>Requests that the driver may have in flight.</summary>
    public int Depth { get; }

    /// <summary>The most segments of a request.</summary>
    public int MaxSegments { get; }
}
