namespace Ingot.Virtio.Blk;

/// <summary>The shape of a <see cref="VirtioBlkDriver"/>: what was negotiated with the device.</summary>
public sealed record VirtioBlkDriverOptions
{
    /// <summary>The largest request in bytes; longer ones are for the caller to split.</summary>
    public const int DefaultMaxRequest = 1 << 20;

    /// <summary>What the device is called in messages: "vhost-user-blk device '/run/disk.sock'".</summary>
    public required string Peer { get; init; }

    /// <summary>The features negotiated, of the ring and of the block device.</summary>
    public ulong Features { get; init; } = VirtioFeatures.Version1;

    /// <summary>Queues.</summary>
    public int QueueCount { get; init; } = 1;

    /// <summary>Entries of each queue, a power of two.</summary>
    public int QueueSize { get; init; } = 128;

    /// <summary>The most data segments of a request (seg_max).</summary>
    public int MaxSegments { get; init; } = 126;

    /// <summary>The largest data segment in bytes (size_max).</summary>
    public uint MaxSegmentSize { get; init; } = DefaultMaxRequest;

    /// <summary>Pages of 4 KiB for data that the device can't reach where it lies, a multiple of 64. A request that finds none waits.</summary>
    public int BouncePages { get; init; } = 8192;

    /// <summary>Descriptors beside those of the data: header and status, unless they are embedded in the ring.</summary>
    internal int Overhead => (Features & VirtioFeatures.EmbeddedRequests) == VirtioFeatures.EmbeddedRequests ? 0 : 2;

    /// <summary>The most descriptors of a request.</summary>
    internal int MaxDescriptors => MaxSegments + Overhead;
}
