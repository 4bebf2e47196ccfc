namespace Ingot.Virtio;

/// <summary>Feature bits of VIRTIO 1.3 that are not of one device type, and the two that vhost-user adds.</summary>
public static class VirtioFeatures
{
    /// <summary>vhost: log writes into guest memory (live migration).</summary>
    public const ulong LogAll = 1UL << 26;

    /// <summary>Descriptors may point to tables of descriptors.</summary>
    public const ulong IndirectDescriptors = 1UL << 28;

    /// <summary>used_event and avail_event are in use.</summary>
    public const ulong EventIndex = 1UL << 29;

    /// <summary>vhost-user: protocol features are negotiated, and rings start disabled.</summary>
    public const ulong ProtocolFeatures = 1UL << 30;

    /// <summary>VIRTIO 1.0 and later.</summary>
    public const ulong Version1 = 1UL << 32;

    /// <summary>Addresses go through an IOMMU.</summary>
    public const ulong AccessPlatform = 1UL << 33;

    /// <summary>Packed virtqueues.</summary>
    public const ulong RingPacked = 1UL << 34;

    /// <summary>Buffers are used in the order in which they were made available.</summary>
    public const ulong InOrder = 1UL << 35;

    /// <summary>A queue can be reset on its own.</summary>
    public const ulong RingReset = 1UL << 40;

    /// <summary>Ingot's experiment: ring descriptors have 32 bytes, and the first of a request carries its header (docs/embedded-virtqueue.md).</summary>
    public const ulong EmbeddedHeader = 1UL << 62;

    /// <summary>Ingot's experiment: the status byte is part of the used entry.</summary>
    public const ulong EmbeddedStatus = 1UL << 63;

    /// <summary>Both halves of the experiment; Ingot's own device and driver take them together or not at all.</summary>
    public const ulong EmbeddedRequests = EmbeddedHeader | EmbeddedStatus;
}
