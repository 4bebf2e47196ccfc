using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ingot.Linux;

namespace Ingot.Virtio.VhostUser;

/// <summary>Messages of the front-end; the names and numbers are those of QEMU's vhost-user documentation.</summary>
public enum VhostUserRequest : uint
{
#pragma warning disable CS1591
    None = 0,
    GetFeatures = 1,
    SetFeatures = 2,
    SetOwner = 3,
    ResetOwner = 4,
    SetMemTable = 5,
    SetLogBase = 6,
    SetLogFd = 7,
    SetVringNum = 8,
    SetVringAddr = 9,
    SetVringBase = 10,
    GetVringBase = 11,
    SetVringKick = 12,
    SetVringCall = 13,
    SetVringErr = 14,
    GetProtocolFeatures = 15,
    SetProtocolFeatures = 16,
    GetQueueNum = 17,
    SetVringEnable = 18,
    SetBackendReqFd = 21,
    GetConfig = 24,
    SetConfig = 25,
    GetInflightFd = 31,
    SetInflightFd = 32,
    ResetDevice = 34,
    GetMaxMemSlots = 36,
    AddMemReg = 37,
    RemMemReg = 38,
    SetStatus = 39,
    GetStatus = 40,
#pragma warning restore CS1591
}

/// <summary>Messages of the back-end, on the channel that SET_BACKEND_REQ_FD opens.</summary>
public enum VhostUserBackendRequest : uint
{
    /// <summary>The configuration space has changed.</summary>
    ConfigChange = 2,
}

/// <summary>Bits of the protocol features.</summary>
[Flags]
public enum VhostUserProtocolFeatures : ulong
{
#pragma warning disable CS1591
    None = 0,
    MultiQueue = 1UL << 0,
    LogShmFd = 1UL << 1,
    ReplyAck = 1UL << 3,
    BackendRequests = 1UL << 5,
    Config = 1UL << 9,
    BackendSendFd = 1UL << 10,
    InflightShmFd = 1UL << 12,
    ResetDevice = 1UL << 13,
    InbandNotifications = 1UL << 14,
    ConfigureMemSlots = 1UL << 15,
    Status = 1UL << 16,
#pragma warning restore CS1591
}

/// <summary>Bits of a message's flags.</summary>
[Flags]
public enum VhostUserFlags : uint
{
    /// <summary>The version that every message carries in its low two bits.</summary>
    Version1 = 1,

    /// <summary>The bits of the version.</summary>
    VersionMask = 3,

    /// <summary>A reply.</summary>
    Reply = 4,

    /// <summary>The sender wants an acknowledgement (with REPLY_ACK).</summary>
    NeedReply = 8,
}

/// <summary>Payload of the messages about the state of a ring.</summary>
/// <param name="Index">The ring.</param>
/// <param name="Value">Size, base or enable, as the message says.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct VringState(uint Index, uint Value);

/// <summary>Payload of SET_VRING_ADDR. The addresses are user addresses of the front-end.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VringAddress
{
    /// <summary>Flag: writes to the used ring are logged.</summary>
    public const uint LogFlag = 1;

#pragma warning disable CS1591
    public uint Index;
    public uint Flags;
    public ulong Descriptors;
    public ulong Used;
    public ulong Available;
    public ulong LogGuestAddress;
#pragma warning restore CS1591
}

/// <summary>The u64 of SET_VRING_KICK, _CALL and _ERR.</summary>
public static class VringFd
{
    /// <summary>The bits of the ring's index.</summary>
    public const ulong IndexMask = 0xff;

    /// <summary>No descriptor comes with the message.</summary>
    public const ulong NoFd = 0x100;
}

/// <summary>A memory region as the front-end describes it.</summary>
/// <param name="GuestAddress">Guest-physical address.</param>
/// <param name="Size">Bytes.</param>
/// <param name="UserAddress">Address in the front-end.</param>
/// <param name="FileOffset">Where it starts in the file that comes with it.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct VhostUserMemoryRegion(ulong GuestAddress, ulong Size, ulong UserAddress, ulong FileOffset);

/// <summary>Payload of SET_LOG_BASE.</summary>
/// <param name="Size">Bytes.</param>
/// <param name="Offset">In the file.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct VhostUserLog(ulong Size, ulong Offset);

/// <summary>Payload of the in-flight messages; 24 bytes on the wire with its padding.</summary>
/// <param name="Size">Bytes of the shared buffer.</param>
/// <param name="Offset">In the file.</param>
/// <param name="QueueCount">Queues that it covers.</param>
/// <param name="QueueSize">Entries of each.</param>
[StructLayout(LayoutKind.Sequential, Size = 24)]
public readonly record struct VhostUserInflight(ulong Size, ulong Offset, ushort QueueCount, ushort QueueSize);

/// <summary>Head of the payload of GET_CONFIG and SET_CONFIG; the bytes follow.</summary>
/// <param name="Offset">In the configuration space.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Flags">0, or 1 for live migration.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct VhostUserConfigHead(uint Offset, uint Size, uint Flags)
{
    /// <summary>Bytes of this head.</summary>
    public const int HeadSize = 12;

    /// <summary>The most bytes of a configuration space.</summary>
    public const int MaxConfigSize = 256;
}

/// <summary>One message: header, payload, and the descriptors that came or go with it. Owns received descriptors until they are taken.</summary>
public sealed class VhostUserMessage : IDisposable
{
    /// <summary>Bytes of the header.</summary>
    public const int HeaderSize = 12;

    /// <summary>The largest payload that is accepted.</summary>
    public const int MaxPayload = 4096;

    private byte[] _payload;

    /// <summary>An empty message to fill and send.</summary>
    /// <param name="request">Its number.</param>
    /// <param name="flags">Added to the version.</param>
    public VhostUserMessage(uint request, VhostUserFlags flags = 0)
    {
        Request = request;
        Flags = flags | VhostUserFlags.Version1;
        _payload = [];
    }

    /// <summary>An empty message of the front-end to fill and send.</summary>
    /// <param name="request">Its number.</param>
    /// <param name="flags">Added to the version.</param>
    public VhostUserMessage(VhostUserRequest request, VhostUserFlags flags = 0)
        : this((uint)request, flags)
    {
    }

    /// <summary>The number; of a reply that of its request.</summary>
    public uint Request { get; }

    /// <summary>Version and kind.</summary>
    public VhostUserFlags Flags { get; }

    /// <summary>The bytes.</summary>
    public ReadOnlySpan<byte> Payload => _payload;

    /// <summary>Descriptors that came with the message and were not taken, or that shall be sent with it.</summary>
    public List<FileDescriptor> Descriptors { get; } = [];

    /// <summary>The payload as a structure.</summary>
    /// <typeparam name="T">The structure.</typeparam>
    /// <param name="offset">Where it starts.</param>
    /// <returns>A copy.</returns>
    /// <exception cref="ErrnoException">The payload is too short.</exception>
    public T Read<T>(int offset = 0)
        where T : unmanaged
        => _payload.Length - offset >= Unsafe.SizeOf<T>()
            ? MemoryMarshal.Read<T>(_payload.AsSpan(offset))
            : throw new ErrnoException(Errno.EPROTO, $"{(VhostUserRequest)Request}: payload of {_payload.Length} bytes, {offset + Unsafe.SizeOf<T>()} needed");

    /// <summary>Adds a structure to the payload.</summary>
    /// <typeparam name="T">The structure.</typeparam>
    /// <param name="value">The structure.</param>
    /// <returns>This message.</returns>
    public VhostUserMessage Add<T>(in T value)
        where T : unmanaged
        => Add(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>Adds bytes to the payload.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <returns>This message.</returns>
    public VhostUserMessage Add(ReadOnlySpan<byte> bytes)
    {
        int end = _payload.Length;
        Array.Resize(ref _payload, end + bytes.Length);
        bytes.CopyTo(_payload.AsSpan(end));
        return this;
    }

    /// <summary>Takes the first descriptor that is left.</summary>
    /// <returns>Owned by the caller, or null when there is none.</returns>
    public FileDescriptor? TakeDescriptor()
    {
        if (Descriptors.Count == 0)
        {
            return null;
        }

        FileDescriptor first = Descriptors[0];
        Descriptors.RemoveAt(0);
        return first;
    }

    /// <summary>Closes the descriptors that nobody took.</summary>
    public void Dispose()
    {
        foreach (FileDescriptor descriptor in Descriptors)
        {
            descriptor.Dispose();
        }

        Descriptors.Clear();
    }
}
