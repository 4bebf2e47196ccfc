namespace Ingot.Virtio.Rings;

/// <summary>Where things are in a packed virtqueue (VIRTIO 1.3, 2.8): one ring of 16-byte descriptors, and two words of event suppression.</summary>
public static class PackedLayout
{
    /// <summary>Bytes of a descriptor: address, length (u32), buffer id (u16), flags (u16).</summary>
    public const int DescriptorSize = 16;

    /// <summary>Required alignment of the descriptor ring.</summary>
    public const int DescriptorAlignment = 16;

    /// <summary>Bytes of an event suppression structure, and its alignment.</summary>
    public const int EventSize = 4;

    /// <summary>Descriptor flag: the driver's lap.</summary>
    public const ushort Available = 1 << 7;

    /// <summary>Descriptor flag: the device's lap.</summary>
    public const ushort Used = 1 << 15;

    /// <summary>Event flags: tell of everything.</summary>
    public const ushort EventEnable = 0;

    /// <summary>Event flags: tell of nothing.</summary>
    public const ushort EventDisable = 1;

    /// <summary>Event flags: tell when the descriptor named is reached; with VIRTIO_F_EVENT_IDX.</summary>
    public const ushort EventAtDescriptor = 2;

    private const int IdShift = 32;
    private const int FlagsShift = 48;

    /// <summary>The second half of a descriptor.</summary>
    /// <param name="length">Bytes.</param>
    /// <param name="id">The buffer.</param>
    /// <param name="flags">Flags.</param>
    /// <returns>Eight bytes that are written at once.</returns>
    public static ulong Pack(uint length, ushort id, ushort flags) => length | ((ulong)id << IdShift) | ((ulong)flags << FlagsShift);

    /// <summary>The flags in the second half of a descriptor.</summary>
    /// <param name="half">The half.</param>
    /// <returns>Flags.</returns>
    public static ushort FlagsOf(ulong half) => (ushort)(half >> FlagsShift);

    /// <summary>The buffer id in the second half of a descriptor.</summary>
    /// <param name="half">The half.</param>
    /// <returns>The id.</returns>
    public static ushort IdOf(ulong half) => (ushort)(half >> IdShift);
}
