using Ingot.Linux;
using Ingot.Virtio.Memory;
using Ingot.Virtio.VhostUser;

namespace Ingot.Virtio.Rings;

/// <summary>What a virtqueue is made from.</summary>
/// <param name="Index">Its number, for messages.</param>
/// <param name="Memory">The guest's memory.</param>
/// <param name="Size">Entries.</param>
/// <param name="Address">Where its parts are, as user addresses.</param>
/// <param name="Features">What driver and device agreed on.</param>
/// <param name="Base">Where to go on, as <see cref="Virtqueue.Position"/> tells, unless the in-flight notes know better.</param>
/// <param name="Log">Where writes are logged, or null.</param>
public sealed unsafe record QueueSetup(int Index, GuestMemory Memory, int Size, VringAddress Address, ulong Features, uint Base, DirtyLog? Log)
{
    /// <summary>True for a packed ring.</summary>
    public bool IsPacked => (Features & VirtioFeatures.RingPacked) != 0;

    /// <summary>True when headers and status bytes are in the ring's entries (docs/embedded-virtqueue.md).</summary>
    public bool IsEmbedded => (Features & VirtioFeatures.EmbeddedRequests) == VirtioFeatures.EmbeddedRequests;

    /// <summary>Bytes of a descriptor in the ring, and its alignment.</summary>
    internal int DescriptorSize => IsEmbedded ? EmbeddedLayout.DescriptorSize : SplitLayout.DescriptorSize;

    /// <summary>The log for what is written to buffers, and to a packed ring; null when nothing is logged.</summary>
    /// <exception cref="ErrnoException">It is too small.</exception>
    internal DirtyLog? WriteLog
    {
        get
        {
            DirtyLog? log = (Features & VirtioFeatures.LogAll) != 0 ? Log : null;
            return log is null || log.Covers(Memory.GuestEnd)
                ? log
                : throw new ErrnoException(Errno.EPROTO, $"SET_LOG_BASE: the log does not cover guest memory up to 0x{Memory.GuestEnd:x}");
        }
    }

    /// <summary>Whether all parts are in the guest's memory; while regions come and go one by one they may not be.</summary>
    public bool IsMapped => IsPacked
        ? IsPartMapped(Address.Descriptors, Size * DescriptorSize) && IsPartMapped(Address.Available, PackedLayout.EventSize) && IsPartMapped(Address.Used, PackedLayout.EventSize)
        : IsPartMapped(Address.Descriptors, Size * DescriptorSize) && IsPartMapped(Address.Available, SplitLayout.AvailableSize(Size)) && IsPartMapped(Address.Used, SplitLayout.UsedSize(Size));

    /// <summary>Finds a part.</summary>
    /// <param name="address">Its user address.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="alignment">What the standard requires.</param>
    /// <param name="part">What it is.</param>
    /// <returns>Its start.</returns>
    /// <exception cref="ErrnoException">It is not in memory, or not aligned.</exception>
    internal byte* Locate(ulong address, int length, int alignment, string part)
    {
        byte* start = Memory.FindUser(address, (ulong)length);
        if (start == null)
        {
            throw new ErrnoException(Errno.EPROTO, $"SET_VRING_ADDR: the {part} of queue {Index}, {length} bytes at user address 0x{address:x}, is in no memory region");
        }

        return ((nint)start & (alignment - 1)) == 0
            ? start
            : throw new ErrnoException(Errno.EPROTO, $"SET_VRING_ADDR: the {part} of queue {Index} at user address 0x{address:x} is not aligned to {alignment} bytes");
    }

    private bool IsPartMapped(ulong address, int length) => Memory.FindUser(address, (ulong)length) != null;
}
