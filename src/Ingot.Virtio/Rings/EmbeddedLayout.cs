namespace Ingot.Virtio.Rings;

/// <summary>What differs in rings whose entries carry request headers and status bytes (docs/embedded-virtqueue.md).</summary>
public static class EmbeddedLayout
{
    /// <summary>Bytes of a descriptor in the ring, and its alignment: the second half of a request's first one is the header. Those of tables have 16.</summary>
    public const int DescriptorSize = 32;

    /// <summary>Where the status is in the id of a used element of a split ring.</summary>
    public const int UsedStatusShift = 16;

    /// <summary>Where the status is in a used descriptor of a packed ring.</summary>
    public const int PackedStatusOffset = 16;
}
