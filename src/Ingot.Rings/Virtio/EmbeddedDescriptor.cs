using System.Runtime.InteropServices;
using Ingot.Virtio.Rings;

namespace Ingot.Rings.Virtio;

/// <summary>A descriptor of a split virtqueue with the header of the request in its second half (docs/embedded-virtqueue.md).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EmbeddedDescriptor
{
    public const int Size = 32;

    public Descriptor Descriptor;
    public RequestHeader Header;
}

/// <summary>A descriptor of a packed virtqueue with the header of the request in its second half.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EmbeddedPackedDescriptor
{
    public PackedDescriptor Descriptor;
    public RequestHeader Header;
}

/// <summary>struct pvirtq_desc (VIRTIO 1.3, 2.8.13).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PackedDescriptor
{
    public const int Size = 16;
    public const int FlagsOffset = 14;
    public const ushort Available = 1 << 7;
    public const ushort Used = 1 << 15;

    public ulong Address;
    public uint Length;
    public ushort Id;
    public ushort Flags;
}
