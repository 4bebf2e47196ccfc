namespace Ingot.Rings.Virtio;

/// <summary>What driver and device of a virtqueue agree on, as feature bits do. The event index (split) and event suppression (packed) are always on.</summary>
public sealed record VirtioRingOptions
{
    /// <summary>VIRTIO_F_INDIRECT_DESC: a request of several pieces is a table, and takes one entry of the ring.</summary>
    public bool Indirect { get; init; }

    /// <summary>VIRTIO_F_IN_ORDER: requests are answered in their order, many by one used entry.</summary>
    public bool InOrder { get; init; }

    /// <summary>The request's header is the second half of a 32-byte descriptor (docs/embedded-virtqueue.md), not a buffer of its own.</summary>
    public bool EmbedHeader { get; init; }

    /// <summary>The status byte is part of the used entry (docs/embedded-virtqueue.md), not a buffer of its own. Goes with <see cref="EmbedHeader"/>.</summary>
    public bool EmbedStatus { get; init; }

    /// <summary>Descriptors of a request beside those of its data.</summary>
    public int Overhead => (EmbedHeader ? 0 : 1) + (EmbedStatus ? 0 : 1);

    /// <summary>Bytes of a descriptor in the ring; those of an indirect table always have 16.</summary>
    public int DescriptorStride => EmbedHeader ? EmbeddedDescriptor.Size : 16;
}
