namespace Ingot.Virtio.Rings;

/// <summary>A place in a packed ring: an entry, and the wrap counter of the lap (VIRTIO 1.3, 2.8.1).</summary>
public readonly record struct PackedPlace
{
    private const int WrapBit = 15;

    private PackedPlace(int offset, bool wrap)
    {
        Offset = offset;
        Wrap = wrap;
    }

    /// <summary>Where both sides begin.</summary>
    public static PackedPlace Start { get; } = new(0, true);

    /// <summary>The entry.</summary>
    public int Offset { get; }

    /// <summary>The wrap counter.</summary>
    public bool Wrap { get; }

    /// <summary>As event suppression and vhost-user spell it: the wrap counter in the top bit.</summary>
    public ushort Word => (ushort)(Offset | (Wrap ? 1 << WrapBit : 0));

    /// <summary>The flags by which a driver makes the entry available on this lap.</summary>
    public ushort AvailableFlags => Wrap ? PackedLayout.Available : PackedLayout.Used;

    /// <summary>The flags by which a device uses the entry on this lap.</summary>
    public ushort UsedFlags => Wrap ? (ushort)(PackedLayout.Available | PackedLayout.Used) : (ushort)0;

    /// <summary>A place from its word.</summary>
    /// <param name="word">The word.</param>
    /// <returns>The place.</returns>
    public static PackedPlace FromWord(ushort word) => new(word & ((1 << WrapBit) - 1), word >> WrapBit != 0);

    /// <summary>Whether flags say that the entry is available on this lap.</summary>
    /// <param name="flags">A descriptor's flags.</param>
    /// <returns>True when it is.</returns>
    public bool IsAvailable(ushort flags) => (flags & (PackedLayout.Available | PackedLayout.Used)) == AvailableFlags;

    /// <summary>Whether flags say that the entry is used on this lap.</summary>
    /// <param name="flags">A descriptor's flags.</param>
    /// <returns>True when it is.</returns>
    public bool IsUsed(ushort flags) => (flags & (PackedLayout.Available | PackedLayout.Used)) == UsedFlags;

    /// <summary>A place further on.</summary>
    /// <param name="entries">Entries, at most a lap.</param>
    /// <param name="size">Entries of the ring.</param>
    /// <returns>The place.</returns>
    public PackedPlace Plus(int entries, int size)
    {
        int offset = Offset + entries;
        return offset >= size ? new PackedPlace(offset - size, !Wrap) : new PackedPlace(offset, Wrap);
    }

    /// <summary>Whether the other side asked to be told of the entries up to here.</summary>
    /// <param name="wish">Its event suppression: the place in the low half, flags in the high half.</param>
    /// <param name="from">The first new entry, less than a lap behind or a whole one.</param>
    /// <param name="size">Entries of the ring.</param>
    /// <returns>True to tell it.</returns>
    public bool NeedsEvent(uint wish, PackedPlace from, int size)
    {
        ushort flags = (ushort)((wish >> 16) & 3);
        if (flags != PackedLayout.EventAtDescriptor)
        {
            return flags == PackedLayout.EventEnable;
        }

        // All are counted on this lap; what is on the other one lies a lap behind.
        PackedPlace at = FromWord((ushort)wish);
        int wanted = at.Offset - (at.Wrap == Wrap ? 0 : size);
        int first = from.Offset - (from.Wrap == Wrap ? 0 : size);
        return wanted >= first && wanted < Offset;
    }
}
