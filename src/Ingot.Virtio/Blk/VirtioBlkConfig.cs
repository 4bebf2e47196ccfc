using System.Runtime.InteropServices;

namespace Ingot.Virtio.Blk;

/// <summary>Feature bits of the block device (VIRTIO 1.3, 5.2.3).</summary>
public static class BlkFeatures
{
    /// <summary>size_max is valid.</summary>
    public const ulong SizeMax = 1UL << 1;

    /// <summary>seg_max is valid.</summary>
    public const ulong SegMax = 1UL << 2;

    /// <summary>geometry is valid.</summary>
    public const ulong Geometry = 1UL << 4;

    /// <summary>The disk is read-only.</summary>
    public const ulong ReadOnly = 1UL << 5;

    /// <summary>blk_size is valid.</summary>
    public const ulong BlockSize = 1UL << 6;

    /// <summary>Flush requests.</summary>
    public const ulong Flush = 1UL << 9;

    /// <summary>topology is valid.</summary>
    public const ulong Topology = 1UL << 10;

    /// <summary>The write cache can be switched.</summary>
    public const ulong ConfigWce = 1UL << 11;

    /// <summary>Several queues.</summary>
    public const ulong MultiQueue = 1UL << 12;

    /// <summary>Discard requests.</summary>
    public const ulong Discard = 1UL << 13;

    /// <summary>Write-zeroes requests.</summary>
    public const ulong WriteZeroes = 1UL << 14;

    /// <summary>Secure erase requests.</summary>
    public const ulong SecureErase = 1UL << 16;

    /// <summary>A zoned disk.</summary>
    public const ulong Zoned = 1UL << 17;
}

/// <summary>Request types (VIRTIO 1.3, 5.2.6).</summary>
public enum BlkRequestType : uint
{
    /// <summary>Read.</summary>
    In = 0,

    /// <summary>Write.</summary>
    Out = 1,

    /// <summary>Make completed writes durable.</summary>
    Flush = 4,

    /// <summary>The serial number.</summary>
    GetId = 8,

    /// <summary>Ranges whose content does not matter any more.</summary>
    Discard = 11,

    /// <summary>Ranges to read as zeroes.</summary>
    WriteZeroes = 13,
}

/// <summary>The last byte of a request, written by the device.</summary>
public enum BlkStatus : byte
{
    /// <summary>Success.</summary>
    Ok = 0,

    /// <summary>Failure.</summary>
    IoError = 1,

    /// <summary>The device does not know the request.</summary>
    Unsupported = 2,
}

/// <summary>The first 16 bytes of a request.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct BlkRequestHeader
{
    /// <summary>Bytes of the header.</summary>
    public const int Size = 16;

    /// <summary>What to do.</summary>
    public BlkRequestType Type;

    /// <summary>Must be ignored.</summary>
    public uint Reserved;

    /// <summary>The first sector of 512 bytes.</summary>
    public ulong Sector;
}

/// <summary>One range of a discard or write-zeroes request.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct BlkRange
{
    /// <summary>Bytes of a range.</summary>
    public const int Size = 16;

    /// <summary>Flag of write-zeroes: the space may be given back.</summary>
    public const uint Unmap = 1;

    /// <summary>The first sector of 512 bytes.</summary>
    public ulong Sector;

    /// <summary>Sectors of 512 bytes.</summary>
    public uint SectorCount;

    /// <summary><see cref="Unmap"/>.</summary>
    public uint Flags;
}

/// <summary>struct virtio_blk_config (VIRTIO 1.3, 5.2.4). Little endian as the hosts that Ingot runs on.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public struct VirtioBlkConfig
{
    /// <summary>Sectors are of this size, whatever <see cref="BlockSize"/> says.</summary>
    public const int SectorSize = 512;

    /// <summary>Where <see cref="WriteBack"/> lies: the one field that a driver may write.</summary>
    public const int WriteBackOffset = 32;

    /// <summary>The most bytes of a serial number.</summary>
    public const int SerialSize = 20;

    /// <summary>Size in sectors of 512 bytes.</summary>
    public ulong Capacity;

    /// <summary>The largest segment; with <see cref="BlkFeatures.SizeMax"/>.</summary>
    public uint SizeMax;

    /// <summary>The most data segments of a request; with <see cref="BlkFeatures.SegMax"/>.</summary>
    public uint SegMax;

    /// <summary>With <see cref="BlkFeatures.Geometry"/>.</summary>
    public ushort Cylinders;

    /// <summary>With <see cref="BlkFeatures.Geometry"/>.</summary>
    public byte Heads;

    /// <summary>With <see cref="BlkFeatures.Geometry"/>.</summary>
    public byte SectorsPerTrack;

    /// <summary>The logical block size; with <see cref="BlkFeatures.BlockSize"/>.</summary>
    public uint BlockSize;

    /// <summary>Logical blocks in a physical one, as a power of two; with <see cref="BlkFeatures.Topology"/>.</summary>
    public byte PhysicalBlockExponent;

    /// <summary>Offset of the first aligned logical block.</summary>
    public byte AlignmentOffset;

    /// <summary>Preferred smallest I/O in logical blocks.</summary>
    public ushort MinIoSize;

    /// <summary>Preferred I/O in logical blocks; 0 for no preference.</summary>
    public uint OptimalIoSize;

    /// <summary>1: completed writes need a flush to be durable; with <see cref="BlkFeatures.ConfigWce"/>.</summary>
    public byte WriteBack;

    private readonly byte _unused0;

    /// <summary>With <see cref="BlkFeatures.MultiQueue"/>.</summary>
    public ushort QueueCount;

    /// <summary>With <see cref="BlkFeatures.Discard"/>.</summary>
    public uint MaxDiscardSectors;

    /// <summary>The most ranges of a discard.</summary>
    public uint MaxDiscardSegments;

    /// <summary>Preferred alignment of discards, in sectors of 512 bytes.</summary>
    public uint DiscardSectorAlignment;

    /// <summary>With <see cref="BlkFeatures.WriteZeroes"/>.</summary>
    public uint MaxWriteZeroesSectors;

    /// <summary>The most ranges of a write-zeroes.</summary>
    public uint MaxWriteZeroesSegments;

    /// <summary>1: the unmap flag of write-zeroes has an effect.</summary>
    public byte WriteZeroesMayUnmap;

    private readonly byte _unused1, _unused2, _unused3;

    /// <summary>With <see cref="BlkFeatures.SecureErase"/>.</summary>
    public uint MaxSecureEraseSectors;

    /// <summary>With <see cref="BlkFeatures.SecureErase"/>.</summary>
    public uint MaxSecureEraseSegments;

    /// <summary>With <see cref="BlkFeatures.SecureErase"/>.</summary>
    public uint SecureEraseSectorAlignment;
}
