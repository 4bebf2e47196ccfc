using System.Runtime.InteropServices;

namespace Ingot.Rings.IoUring;

/// <summary>struct io_uring_sqe, as far as reads and writes fill it.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct SubmissionEntry
{
    public const byte ReadVector = 1;
    public const byte WriteVector = 2;
    public const byte Read = 22;
    public const byte Write = 23;
    public const int SectorShift = 9;

    [FieldOffset(0)]
    public byte Opcode;
    [FieldOffset(1)]
    public byte Flags;
    [FieldOffset(2)]
    public ushort Priority;
    [FieldOffset(4)]
    public int File;
    [FieldOffset(8)]
    public ulong Offset;
    [FieldOffset(16)]
    public ulong Address;

    /// <summary>Bytes, or elements of a vector.</summary>
    [FieldOffset(24)]
    public uint Length;
    [FieldOffset(32)]
    public ulong UserData;
}

/// <summary>struct io_uring_cqe.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CompletionEntry
{
    public ulong UserData;

    /// <summary>Bytes, or a negative error.</summary>
    public int Result;
    public uint Flags;
}

/// <summary>struct iovec.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VectorEntry
{
    public ulong Address;
    public ulong Length;
}
