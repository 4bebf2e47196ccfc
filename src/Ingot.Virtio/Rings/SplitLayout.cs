using System.Runtime.InteropServices;

namespace Ingot.Virtio.Rings;

/// <summary>Flags of a descriptor (VIRTIO 1.3, 2.7.5).</summary>
[Flags]
public enum DescriptorFlags : ushort
{
    /// <summary>The last of its chain, read by the device.</summary>
    None = 0,

    /// <summary>The chain goes on at <see cref="Descriptor.Next"/>.</summary>
    Next = 1,

    /// <summary>Written by the device; read by it otherwise.</summary>
    Write = 2,

    /// <summary>The buffer is a table of descriptors.</summary>
    Indirect = 4,
}

/// <summary>struct virtq_desc.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct Descriptor
{
    /// <summary>Guest-physical address of the buffer.</summary>
    public ulong Address;

    /// <summary>Its length in bytes.</summary>
    public uint Length;

    /// <summary>What it is.</summary>
    public DescriptorFlags Flags;

    /// <summary>The next in the chain, with <see cref="DescriptorFlags.Next"/>.</summary>
    public ushort Next;
}

/// <summary>struct virtq_used_elem.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct UsedElement
{
    /// <summary>The head of the chain that was used.</summary>
    public uint Id;

    /// <summary>Bytes written into its device-writable part.</summary>
    public uint Length;
}

/// <summary>Where things are in the three parts of a split virtqueue, in bytes from the start of each part (VIRTIO 1.3, 2.7).</summary>
public static class SplitLayout
{
    /// <summary>The largest queue that the standard allows.</summary>
    public const int MaxQueueSize = 32768;

    /// <summary>Bytes of a descriptor.</summary>
    public const int DescriptorSize = 16;

    /// <summary>The flags of the available and of the used ring.</summary>
    public const int FlagsOffset = 0;

    /// <summary>The index of the available and of the used ring.</summary>
    public const int IndexOffset = 2;

    /// <summary>The first entry of the available and of the used ring.</summary>
    public const int RingOffset = 4;

    /// <summary>Available ring flag: the driver wants no calls (without event index).</summary>
    public const ushort AvailableNoInterrupt = 1;

    /// <summary>Used ring flag: the device wants no kicks (without event index).</summary>
    public const ushort UsedNoNotify = 1;

    /// <summary>Required alignment of the descriptor table.</summary>
    public const int DescriptorAlignment = 16;

    /// <summary>Required alignment of the available ring.</summary>
    public const int AvailableAlignment = 2;

    /// <summary>Required alignment of the used ring.</summary>
    public const int UsedAlignment = 4;

    /// <summary>Bytes of the descriptor table.</summary>
    /// <param name="queueSize">Entries.</param>
    /// <returns>Bytes.</returns>
    public static int DescriptorTableSize(int queueSize) => DescriptorSize * queueSize;

    /// <summary>Bytes of the available ring, its event field included.</summary>
    /// <param name="queueSize">Entries.</param>
    /// <returns>Bytes.</returns>
    public static int AvailableSize(int queueSize) => 6 + (2 * queueSize);

    /// <summary>Bytes of the used ring, its event field included.</summary>
    /// <param name="queueSize">Entries.</param>
    /// <returns>Bytes.</returns>
    public static int UsedSize(int queueSize) => 6 + (8 * queueSize);

    /// <summary>The used_event field in the available ring: the driver's wish for a call.</summary>
    /// <param name="queueSize">Entries.</param>
    /// <returns>Bytes from the start of the available ring.</returns>
    public static int UsedEventOffset(int queueSize) => 4 + (2 * queueSize);

    /// <summary>The avail_event field in the used ring: the device's wish for a kick.</summary>
    /// <param name="queueSize">Entries.</param>
    /// <returns>Bytes from the start of the used ring.</returns>
    public static int AvailableEventOffset(int queueSize) => 4 + (8 * queueSize);

    /// <summary>Whether the other side asked to be told of this step (vring_need_event).</summary>
    /// <param name="eventIndex">Its event field.</param>
    /// <param name="newIndex">The index now published.</param>
    /// <param name="oldIndex">The index at the last time this was asked.</param>
    /// <returns>True when the event index lies within the step.</returns>
    public static bool NeedsEvent(ushort eventIndex, ushort newIndex, ushort oldIndex)
        => (ushort)(newIndex - eventIndex - 1) < (ushort)(newIndex - oldIndex);
}
