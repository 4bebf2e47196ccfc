using System.Runtime.InteropServices;

namespace Ingot.Linux;

#pragma warning disable CS1591 // include/uapi/linux/io_uring.h is the documentation: names and layouts are its own.

/// <summary>struct io_sqring_offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IoSqringOffsets
{
    public uint Head, Tail, RingMask, RingEntries, Flags, Dropped, Array, Reserved;
    public ulong UserAddress;
}

/// <summary>struct io_cqring_offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IoCqringOffsets
{
    public uint Head, Tail, RingMask, RingEntries, Overflow, Cqes, Flags, Reserved;
    public ulong UserAddress;
}

/// <summary>struct io_uring_params.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IoUringParams
{
    public uint SqEntries, CqEntries, Flags, SqThreadCpu, SqThreadIdle, Features, WqFd, Reserved0, Reserved1, Reserved2;
    public IoSqringOffsets SqOffsets;
    public IoCqringOffsets CqOffsets;
}

/// <summary>struct io_uring_sqe, 64 bytes, with the fields that Ingot fills.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
public struct IoUringSqe
{
    [FieldOffset(0)] public byte Opcode;
    [FieldOffset(1)] public byte Flags;
    [FieldOffset(2)] public ushort IoPriority;
    [FieldOffset(4)] public int Fd;
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public ulong Address;
    [FieldOffset(24)] public uint Length;
    [FieldOffset(28)] public uint OperationFlags;
    [FieldOffset(32)] public ulong UserData;
    [FieldOffset(40)] public ushort BufferIndex;
}

/// <summary>struct io_uring_cqe, 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IoUringCqe
{
    public ulong UserData;
    public int Result;
    public uint Flags;
}

/// <summary>struct io_uring_getevents_arg.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IoUringGetEventsArg
{
    public ulong SignalMask;
    public uint SignalMaskSize;
    public uint MinWaitMicroseconds;
    public ulong Timespec;
}

/// <summary>struct io_uring_rsrc_register.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IoUringResourceRegister
{
    public uint Count, Flags;
    public ulong Reserved, Data, Tags;
}

/// <summary>struct io_uring_rsrc_update; a registered ring is named in the same form.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IoUringResourceUpdate
{
    public uint Offset, Reserved;
    public ulong Data;
}

/// <summary>struct io_uring_rsrc_update2.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IoUringResourceUpdate2
{
    public uint Offset, Reserved0;
    public ulong Data, Tags;
    public uint Count, Reserved1;
}

/// <summary>Constants of io_uring.</summary>
public static class IoUringAbi
{
    public const byte IOSQE_FIXED_FILE = 1, IOSQE_ASYNC = 1 << 4;
    public const byte IORING_OP_NOP = 0, IORING_OP_READV = 1, IORING_OP_WRITEV = 2, IORING_OP_FSYNC = 3, IORING_OP_READ_FIXED = 4, IORING_OP_WRITE_FIXED = 5, IORING_OP_POLL_ADD = 6, IORING_OP_POLL_REMOVE = 7,
        IORING_OP_ASYNC_CANCEL = 14, IORING_OP_FALLOCATE = 17, IORING_OP_READ = 22, IORING_OP_WRITE = 23;
    public const uint IORING_SETUP_CQSIZE = 8, IORING_SETUP_CLAMP = 16, IORING_SETUP_COOP_TASKRUN = 1 << 8, IORING_SETUP_TASKRUN_FLAG = 1 << 9, IORING_SETUP_SINGLE_ISSUER = 1 << 12;
    public const uint IORING_ENTER_GETEVENTS = 1, IORING_ENTER_EXT_ARG = 8, IORING_ENTER_REGISTERED_RING = 16;
    public const uint IORING_REGISTER_FILES_UPDATE = 6, IORING_REGISTER_FILES2 = 13, IORING_REGISTER_BUFFERS2 = 15, IORING_REGISTER_BUFFERS_UPDATE = 16, IORING_REGISTER_RING_FDS = 20, IORING_UNREGISTER_RING_FDS = 21;
    public const uint IORING_RSRC_REGISTER_SPARSE = 1;
    public const uint IORING_SQ_CQ_OVERFLOW = 2, IORING_SQ_TASKRUN = 4;
    public const uint IORING_FEAT_SINGLE_MMAP = 1, IORING_FEAT_NODROP = 2, IORING_FEAT_EXT_ARG = 256, IORING_FEAT_RSRC_TAGS = 1024;
    public const uint IORING_CQE_F_MORE = 2;
    public const uint IORING_FSYNC_DATASYNC = 1;
    public const uint IORING_POLL_ADD_MULTI = 1;
    public const ulong IORING_OFF_SQ_RING = 0, IORING_OFF_SQES = 0x10000000;
}
