using System.Runtime.InteropServices;

namespace Ingot.Rings;

/// <summary>What a request asks for: the 16 bytes of struct virtio_blk_req before the data (VIRTIO 1.3, 5.2.6). Every ring carries them its own way.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct RequestHeader
{
    /// <summary>The type of a request that the device answers with data.</summary>
    public const uint Read = 0;

    /// <summary>The type of a request that brings data.</summary>
    public const uint Write = 1;

    /// <summary>Bytes of a header.</summary>
    public const int Size = 16;

    /// <summary><see cref="Read"/> or <see cref="Write"/>.</summary>
    public uint Type;

    /// <summary>Priority; at most 65535, which is what io_uring has room for.</summary>
    public uint Priority;

    /// <summary>The first sector of 512 bytes.</summary>
    public ulong Sector;
}
