using System.Runtime.InteropServices;
using Ingot.Linux;
using Ingot.Virtio.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Virtio.VhostUser;

/// <summary>
/// The buffer in which we note what is in flight. The front-end keeps it for us, so that after our death our successor finds what we left undone:
/// one part a queue, in the layouts of the vhost-user documentation ("Inflight I/O tracking").
/// </summary>
public sealed unsafe class InflightRegion
{
    private const int Alignment = 64;
    private readonly SharedMapping _mapping;
    private readonly long _partSize;

    // Each queue's part is its share of the whole buffer, not what the queue size says: QEMU 10 asks for 128 entries, and its guest uses 1024.
    private InflightRegion(SharedMapping mapping, int queueCount)
    {
        _mapping = mapping;
        QueueCount = queueCount;
        _partSize = mapping.Length / queueCount & -Alignment;
    }

    /// <summary>Queues that the buffer covers.</summary>
    public int QueueCount { get; }

    /// <summary>Bytes of the buffer for so many queues.</summary>
    /// <param name="queueCount">Queues.</param>
    /// <param name="queueSize">Entries of each.</param>
    /// <param name="packed">True for packed rings.</param>
    /// <returns>Bytes.</returns>
    public static long SizeOf(int queueCount, int queueSize, bool packed = false) => (long)queueCount * PartSize(queueSize, packed);

    /// <summary>Maps a buffer that the front-end gave back.</summary>
    /// <param name="file">The file; may be closed afterwards.</param>
    /// <param name="description">What the front-end says of it.</param>
    /// <returns>The region.</returns>
    /// <exception cref="ErrnoException">The description is nonsense.</exception>
    public static InflightRegion Map(FileDescriptor file, in VhostUserInflight description)
    {
        Check(description, VhostUserRequest.SetInflightFd);
        long needed = SizeOf(description.QueueCount, description.QueueSize);
        if (description.Size < (ulong)needed)
        {
            throw new ErrnoException(Errno.EPROTO, $"SET_INFLIGHT_FD: mmap size {description.Size}, {needed} needed for {description.QueueCount} queues of {description.QueueSize}");
        }

        if (description.Offset % sizeof(ulong) != 0)
        {
            throw new ErrnoException(Errno.EPROTO, $"SET_INFLIGHT_FD: mmap offset {description.Offset} is not a multiple of 8");
        }

        SharedMapping mapping = SharedMapping.Map(file, description.Offset, description.Size, "SET_INFLIGHT_FD");
        return new InflightRegion(mapping, description.QueueCount);
    }

    /// <summary>Refuses a description without queues.</summary>
    /// <param name="description">What the front-end says.</param>
    /// <param name="request">In which message.</param>
    public static void Check(in VhostUserInflight description, VhostUserRequest request)
    {
        string name = request == VhostUserRequest.GetInflightFd ? "GET_INFLIGHT_FD" : "SET_INFLIGHT_FD";
        if (description.QueueCount is 0 or > 256)
        {
            throw new ErrnoException(Errno.EPROTO, $"{name}: num queues {description.QueueCount} is not within 1 to 256");
        }

        if (description.QueueSize is 0 or > SplitLayout.MaxQueueSize)
        {
            throw new ErrnoException(Errno.EPROTO, $"{name}: queue size {description.QueueSize} is not within 1 to {SplitLayout.MaxQueueSize}");
        }
    }

    /// <summary>Whether the buffer has room for a queue.</summary>
    /// <param name="index">The queue.</param>
    /// <param name="queueSize">Its entries.</param>
    /// <param name="packed">True for a packed ring.</param>
    /// <returns>True when it has.</returns>
    public bool HasRoomFor(int index, int queueSize, bool packed = false) => index < QueueCount && PartSize(queueSize, packed) <= _partSize;

    /// <summary>The part of one queue.</summary>
    /// <param name="index">The queue.</param>
    /// <param name="queueSize">Its entries.</param>
    /// <returns>The part.</returns>
    public InflightQueue GetQueue(int index, int queueSize)
    {
        ArgumentOutOfRangeException.ThrowIfEqual(HasRoomFor(index, queueSize), false);
        return new InflightQueue(_mapping.Pointer + (index * _partSize), queueSize);
    }

    /// <summary>The part of one packed queue.</summary>
    /// <param name="index">The queue.</param>
    /// <param name="queueSize">Its entries.</param>
    /// <returns>The part.</returns>
    public PackedInflightQueue GetPackedQueue(int index, int queueSize)
    {
        ArgumentOutOfRangeException.ThrowIfEqual(HasRoomFor(index, queueSize, packed: true), false);
        return new PackedInflightQueue(_mapping.Pointer + (index * _partSize), queueSize);
    }

    /// <summary>Unmaps the buffer; the front-end keeps it.</summary>
    public void Release() => _mapping.Release();

    private static int PartSize(int queueSize, bool packed)
    {
        int bytes = packed ? PackedInflightQueue.SizeOf(queueSize) : sizeof(InflightQueue.Head) + (sizeof(InflightQueue.State) * queueSize);
        return (bytes + Alignment - 1) & -Alignment;
    }
}

/// <summary>The in-flight notes of one queue. The order of the stores is what makes a death at any point recoverable.</summary>
public sealed unsafe class InflightQueue
{
    private const ushort CurrentVersion = 1;
    private readonly Head* _head;
    private readonly State* _states;
    private readonly int _size;
    private readonly ushort[] _batch;
    private int _batchCount;
    private ulong _counter;

    internal InflightQueue(byte* start, int size)
    {
        _head = (Head*)start;
        _states = (State*)(_head + 1);
        _size = size;
        _batch = new ushort[size];
    }

    /// <summary>
    /// Sets a new buffer up, or finds what the last user left undone.
    /// </summary>
    /// <param name="usedIndex">The index of the used ring.</param>
    /// <returns>Heads to serve again, oldest first; null for a new buffer.</returns>
    public ushort[]? Recover(ushort usedIndex)
    {
        if (_head->Version != CurrentVersion)
        {
            new Span<byte>(_head, sizeof(Head) + (sizeof(State) * _size)).Clear();
            _head->DescriptorCount = (ushort)_size;
            _head->UsedIndex = usedIndex;
            Volatile.Write(ref _head->Version, CurrentVersion);
            return null;
        }

        FinishLastBatch(usedIndex);
        var found = new List<(ulong Counter, ushort Head)>();
        for (int i = 0; i < _size; i++)
        {
            if (_states[i].Inflight != 0)
            {
                found.Add((_states[i].Counter, (ushort)i));
                _counter = Math.Max(_counter, _states[i].Counter + 1);
            }
        }

        found.Sort();
        return found.ConvertAll(f => f.Head).ToArray();
    }

    /// <summary>Notes a chain that was taken from the available ring.</summary>
    /// <param name="head">Its first descriptor, checked.</param>
    public void Take(ushort head)
    {
        _states[head].Counter = _counter++;
        Volatile.Write(ref _states[head].Inflight, 1);
    }

    /// <summary>Notes a chain that will be in the used ring when the batch is published.</summary>
    /// <param name="head">Its first descriptor, checked.</param>
    public void Use(ushort head)
    {
        _states[head].Next = _head->LastBatchHead;
        Volatile.Write(ref _head->LastBatchHead, head);
        _batch[_batchCount++] = head;
    }

    /// <summary>Notes that the batch has been published.</summary>
    /// <param name="usedIndex">The index of the used ring after it.</param>
    public void Publish(ushort usedIndex)
    {
        for (int i = 0; i < _batchCount; i++)
        {
            Volatile.Write(ref _states[_batch[i]].Inflight, 0);
        }

        _batchCount = 0;
        Volatile.Write(ref _head->UsedIndex, usedIndex);
    }

    // We died between publishing a batch and noting it: what the guest has seen as used must not be served again.
    private void FinishLastBatch(ushort usedIndex)
    {
        int count = Math.Min((ushort)(usedIndex - _head->UsedIndex), _size);
        ushort head = _head->LastBatchHead;
        for (int i = 0; i < count && head < _size; i++)
        {
            _states[head].Inflight = 0;
            head = _states[head].Next;
        }

        _head->UsedIndex = usedIndex;
    }

    /// <summary>struct QueueRegionSplit without its array.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Head
    {
        internal ulong Features;
        internal ushort Version;
        internal ushort DescriptorCount;
        internal ushort LastBatchHead;
        internal ushort UsedIndex;
    }

    /// <summary>struct DescStateSplit.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 16)]
    internal struct State
    {
        [FieldOffset(0)] internal byte Inflight;
        [FieldOffset(6)] internal ushort Next;
        [FieldOffset(8)] internal ulong Counter;
    }
}
