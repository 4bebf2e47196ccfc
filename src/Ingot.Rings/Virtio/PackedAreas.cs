using System.Runtime.InteropServices;
using Ingot.Rings.Memory;

namespace Ingot.Rings.Virtio;

/// <summary>Where the parts of a packed virtqueue are (VIRTIO 1.3, 2.8), and what its driver keeps for each token.</summary>
internal readonly unsafe struct PackedAreas
{
    public readonly byte* Descriptors;
    public readonly EventSuppression* DriverEvent; // the driver's wish for calls
    public readonly EventSuppression* DeviceEvent; // the device's wish for kicks
    public readonly byte* Blocks;
    public readonly byte* Tables;
    public readonly int TableStride;
    public readonly long Length;

    public PackedAreas(SharedWindow window, RingGeometry geometry, VirtioRingOptions options)
    {
        TableStride = ((geometry.MaxSegments + options.Overhead) * PackedDescriptor.Size) + 63 & ~63;
        var cutter = new SharedWindow.Cutter(window);
        Descriptors = cutter.Take((long)geometry.QueueSize * options.DescriptorStride);
        DriverEvent = (EventSuppression*)cutter.Take(sizeof(EventSuppression));
        DeviceEvent = (EventSuppression*)cutter.Take(sizeof(EventSuppression));
        Blocks = cutter.Take((long)geometry.Depth * RequestBlock.Size);
        Tables = cutter.Take(options.Indirect ? (long)geometry.Depth * TableStride : 0);
        Length = cutter.Used;
    }
}

/// <summary>struct pvirtq_event_suppress (VIRTIO 1.3, 2.8.14).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EventSuppression
{
    public const ushort Enable = 0;
    public const ushort Disable = 1;
    public const ushort AtDescriptor = 2;

    public ushort Place; // descriptor offset, the wrap counter in the top bit
    public ushort Flags;
}

/// <summary>A place in a packed ring: an offset, and how often the ring has been gone around, modulo two.</summary>
/// <remarks>
/// The lab's rings share nothing with the product's (PackedPlace is theirs): tests run the lab's drivers against the product's devices, where an error that both had in
/// common would go unseen, and only the lab's count what they touch.
/// </remarks>
internal struct RingPlace(int size)
{
    private readonly int _size = size;

    public int Offset { get; private set; }

    public bool Wrap { get; private set; } = true;

    /// <summary>As event suppression spells it.</summary>
    public readonly ushort Word => (ushort)(Offset | (Wrap ? 0x8000 : 0));

    public void Advance(int entries)
    {
        Offset += entries;
        if (Offset >= _size)
        {
            Offset -= _size;
            Wrap = !Wrap;
        }
    }

    /// <summary>Whether the other side asked to be told of the entries between two places.</summary>
    /// <param name="wish">Its wish, read after the entries were published.</param>
    /// <param name="from">The first new entry.</param>
    public readonly bool NeedsEvent(EventSuppression wish, RingPlace from)
    {
        if (wish.Flags != EventSuppression.AtDescriptor)
        {
            return wish.Flags == EventSuppression.Enable;
        }

        // Both are counted on from the same lap: that of the entry after the last new one.
        int at = (wish.Place & 0x7fff) - (((wish.Place & 0x8000) != 0) == Wrap ? 0 : _size);
        int first = from.Offset - (from.Wrap == Wrap ? 0 : _size);
        return at >= first && at < Offset;
    }
}
