using System.Runtime.InteropServices;

namespace Ingot.Rings.Nvme;

/// <summary>A submission queue entry (NVM Express base specification 2.0, 3.3.3.1), with the fields of Read and Write (NVM command set 1.0, 3.2.4 and 3.2.6).</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct NvmeCommand
{
    public const byte Write = 1;
    public const byte Read = 2;

    /// <summary>PSDT: the data pointer is a scatter-gather list.</summary>
    public const byte UsesSgl = 1 << 6;

    [FieldOffset(0)]
    public byte Opcode;
    [FieldOffset(1)]
    public byte Flags;
    [FieldOffset(2)]
    public ushort Id;
    [FieldOffset(4)]
    public uint Namespace;
    [FieldOffset(16)]
    public ulong Metadata;
    [FieldOffset(24)]
    public ulong Prp1;
    [FieldOffset(32)]
    public ulong Prp2;
    [FieldOffset(24)]
    public SglDescriptor Sgl;
    [FieldOffset(40)]
    public ulong StartBlock;

    /// <summary>Blocks of 512 bytes, less one.</summary>
    [FieldOffset(48)]
    public ushort BlockCount;

    /// <summary>Dataset management: here the priority.</summary>
    [FieldOffset(52)]
    public uint DatasetManagement;
}

/// <summary>An SGL descriptor (base specification 2.0, 4.1.2).</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct SglDescriptor
{
    public const byte DataBlock = 0;
    public const byte LastSegment = 3 << 4;

    [FieldOffset(0)]
    public ulong Address;
    [FieldOffset(8)]
    public uint Length;
    [FieldOffset(15)]
    public byte Type;
}

/// <summary>A completion queue entry (base specification 2.0, 3.3.3.2). The dword with the phase tag is written last.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct NvmeCompletion
{
    /// <summary>Where the command identifier, the phase tag and the status are.</summary>
    public const int LastDword = 12;
    public const uint PhaseBit = 1 << 16;
    public const int StatusShift = 17;

    /// <summary>Command specific: here the bytes transferred.</summary>
    [FieldOffset(0)]
    public uint Result;
    [FieldOffset(8)]
    public ushort SubmissionHead;
    [FieldOffset(10)]
    public ushort SubmissionQueue;
}
