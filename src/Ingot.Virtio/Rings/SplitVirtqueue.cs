using Ingot.Linux;
using Ingot.Virtio.Memory;
using Ingot.Virtio.VhostUser;

namespace Ingot.Virtio.Rings;

/// <summary>
/// The device side of a split virtqueue (VIRTIO 1.3, 2.7). Everything that it reads from the rings is hostile: read once, then checked.
/// </summary>
public sealed unsafe class SplitVirtqueue : Virtqueue
{
    private readonly int _index;
    private readonly GuestMemory _memory;
    private readonly DirtyLog? _log;
    private readonly ulong _usedLogAddress;
    private readonly DirtyLog? _usedLog;
    private readonly InflightQueue? _inflight;
    private readonly ushort[] _resubmit;
    private readonly ulong* _descriptors;
    private readonly ushort* _available;
    private readonly byte* _used;
    private readonly uint _size;
    private readonly bool _eventIndex;
    private readonly bool _indirect;
    private readonly bool _embedded;
    private readonly int _entryShift; // words of a descriptor, as a power of two
    private readonly bool[] _taken;
    private int _resubmitted;
    private GuestBuffers _buffers;
    private ushort _nextAvailable;
    private ushort _knownAvailable;
    private ushort _usedIndex;
    private ushort _publishedIndex;
    private ushort _calledIndex;

    /// <summary>Sets a queue up where its last user left off.</summary>
    /// <param name="setup">What the front-end said.</param>
    /// <param name="inflight">In-flight notes, or null.</param>
    /// <exception cref="ErrnoException">What it said is nonsense.</exception>
    public SplitVirtqueue(QueueSetup setup, InflightQueue? inflight)
    {
        _index = setup.Index;
        _memory = setup.Memory;
        _buffers = new GuestBuffers(setup.Memory);
        _size = (uint)setup.Size;
        _descriptors = (ulong*)setup.Locate(setup.Address.Descriptors, setup.Size * setup.DescriptorSize, setup.DescriptorSize, "descriptor table");
        _available = (ushort*)setup.Locate(setup.Address.Available, SplitLayout.AvailableSize(setup.Size), SplitLayout.AvailableAlignment, "available ring");
        _used = setup.Locate(setup.Address.Used, SplitLayout.UsedSize(setup.Size), SplitLayout.UsedAlignment, "used ring");
        _eventIndex = (setup.Features & VirtioFeatures.EventIndex) != 0;
        _indirect = (setup.Features & VirtioFeatures.IndirectDescriptors) != 0;
        _embedded = setup.IsEmbedded;
        _entryShift = _embedded ? 2 : 1;
        _taken = new bool[setup.Size];
        _log = setup.WriteLog;
        _usedLog = (setup.Address.Flags & VringAddress.LogFlag) != 0 ? setup.Log : null;
        _usedLogAddress = setup.Address.LogGuestAddress;
        CheckUsedLog();
        _inflight = inflight;
        _usedIndex = _publishedIndex = _calledIndex = Volatile.Read(ref *(ushort*)(_used + SplitLayout.IndexOffset));
        ushort[]? left = _inflight?.Recover(_usedIndex);
        _resubmit = left ?? [];
        _nextAvailable = _knownAvailable = left is null ? (ushort)setup.Base : (ushort)(_usedIndex + left.Length);
    }

    /// <inheritdoc/>
    public override GuestMemory Memory => _memory;

    /// <inheritdoc/>
    public override int Size => (int)_size;

    /// <inheritdoc/>
    public override uint Position => _nextAvailable;

    /// <inheritdoc/>
    public override PopResult TryPop(DescriptorChain chain)
    {
        ushort head;
        if (_resubmitted < _resubmit.Length)
        {
            head = _resubmit[_resubmitted++];
            return Fetch(head, chain);
        }

        if (_nextAvailable == _knownAvailable && !Refresh())
        {
            return Defect is null ? PopResult.Empty : PopResult.Broken;
        }

        // SAFETY: the slot is within the ring, whose bounds were checked when the queue was set up.
        head = Volatile.Read(ref _available[(SplitLayout.RingOffset / 2) + (_nextAvailable & (_size - 1))]);
        PopResult result = Fetch(head, chain);
        if (result == PopResult.Popped)
        {
            _nextAvailable++;
            _inflight?.Take(head);
        }

        return result;
    }

    /// <inheritdoc/>
    public override void PushUsed(DescriptorChain chain, long length)
    {
        // A driver that has seen its answers can't have more than the ring holds; one that races ahead must not overrun the ring or the notes.
        if ((ushort)(_usedIndex - _publishedIndex) == _size)
        {
            Publish();
        }

        ushort head = chain.Head;
        _taken[head] = false;
        _inflight?.Use(head);

        // SAFETY: the slot is within the used ring; id and length are written before the index, by Publish.
        uint id = _embedded ? head | ((uint)chain.EmbeddedStatus << EmbeddedLayout.UsedStatusShift) : head;
        *(ulong*)(_used + SplitLayout.RingOffset + (8 * (_usedIndex & (_size - 1)))) = id | ((ulong)length << 32);
        _usedIndex++;
        if (_log is not null && chain.WritableLength > 0)
        {
            _log.Mark(_memory, chain.Writable);
        }
    }

    /// <inheritdoc/>
    public override void Publish()
    {
        if (_publishedIndex == _usedIndex)
        {
            return;
        }

        Volatile.Write(ref *(ushort*)(_used + SplitLayout.IndexOffset), _usedIndex);
        _publishedIndex = _usedIndex;
        _inflight?.Publish(_usedIndex);
        _usedLog?.Mark(_usedLogAddress, (ulong)SplitLayout.UsedSize((int)_size));
    }

    /// <inheritdoc/>
    public override bool ShouldCall()
    {
        ushort before = _calledIndex;
        if (before == _publishedIndex)
        {
            return false;
        }

        // The index must be visible before the driver's wish is read: the driver writes its wish, then reads the index.
        Interlocked.MemoryBarrier();
        _calledIndex = _publishedIndex;
        return _eventIndex
            ? SplitLayout.NeedsEvent(Volatile.Read(ref *(ushort*)((byte*)_available + SplitLayout.UsedEventOffset((int)_size))), _publishedIndex, before)
            : (Volatile.Read(ref *_available) & SplitLayout.AvailableNoInterrupt) == 0;
    }

    /// <inheritdoc/>
    public override bool EnableKicks()
    {
        if (_resubmitted < _resubmit.Length)
        {
            return false;
        }

        if (_eventIndex)
        {
            Volatile.Write(ref *(ushort*)(_used + SplitLayout.AvailableEventOffset((int)_size)), _nextAvailable);
        }
        else
        {
            Volatile.Write(ref *(ushort*)_used, 0);
        }

        // The wish must be visible before the index is read: the driver writes the index, then reads the wish.
        Interlocked.MemoryBarrier();
        return Volatile.Read(ref _available[SplitLayout.IndexOffset / 2]) == _nextAvailable;
    }

    /// <inheritdoc/>
    public override void DisableKicks()
    {
        // With the event index an old wish is no wish: it lies behind the driver's index.
        if (!_eventIndex)
        {
            Volatile.Write(ref *(ushort*)_used, SplitLayout.UsedNoNotify);
        }
    }

    private bool Refresh()
    {
        ushort available = Volatile.Read(ref _available[SplitLayout.IndexOffset / 2]);
        if ((ushort)(available - _nextAvailable) > _size)
        {
            Break($"the available index jumps from {_nextAvailable} to {available}");
            return false;
        }

        if (_buffers.FindLoss() is { } loss)
        {
            Break(loss);
            return false;
        }

        _knownAvailable = available;
        return available != _nextAvailable;
    }

    private PopResult Fetch(ushort head, DescriptorChain chain)
    {
        if (head >= _size)
        {
            return Break($"the available ring names descriptor {head} of {_size}");
        }

        if (_taken[head])
        {
            return Break($"descriptor chain {head} was made available twice");
        }

        chain.Begin(head);
        ulong* table = _descriptors;
        uint tableSize = _size;
        uint index = head;
        int shift = _entryShift;
        bool inIndirect = false;
        if (_embedded)
        {
            // SAFETY: head is below _size, and the table is within mapped memory.
            ulong* header = table + (head << shift) + 2;
            chain.Embed(Volatile.Read(ref header[0]), Volatile.Read(ref header[1]));
        }

        for (int seen = 0; seen < DescriptorChain.MaxSegments;)
        {
            // SAFETY: index is below tableSize, and the table is within mapped memory. Two reads make a private copy.
            ulong address = Volatile.Read(ref table[index << shift]);
            ulong rest = Volatile.Read(ref table[(index << shift) + 1]);
            var length = (uint)rest;
            var flags = (DescriptorFlags)(rest >> 32);
            if ((flags & DescriptorFlags.Indirect) != 0)
            {
                if (inIndirect || (flags & DescriptorFlags.Next) != 0 || !_indirect)
                {
                    return Break($"descriptor {index} of chain {head} may not be indirect");
                }

                table = _buffers.FindTable(address, length, out tableSize);
                if (table == null)
                {
                    return Break($"the indirect table of {length} bytes at guest address 0x{address:x} of chain {head} is misplaced");
                }

                inIndirect = true;
                shift = 1;
                index = 0;
                continue;
            }

            bool writable = (flags & DescriptorFlags.Write) != 0;
            if (!writable && chain.HasWritable)
            {
                return Break($"chain {head} has a readable descriptor after a writable one");
            }

            if (!_buffers.TryAdd(chain, address, length, writable))
            {
                return Break($"the buffer of {length} bytes at guest address 0x{address:x} of chain {head} is not in memory, or the chain has more than {DescriptorChain.MaxSegments} buffers");
            }

            if ((flags & DescriptorFlags.Next) == 0)
            {
                return Finish(head, chain);
            }

            index = (uint)(rest >> 48);
            if (index >= tableSize)
            {
                return Break($"a descriptor of chain {head} names descriptor {index} of {tableSize} as the next");
            }

            seen++;
        }

        return Break($"chain {head} has more than {DescriptorChain.MaxSegments} descriptors, or they form a loop");
    }

    private PopResult Finish(ushort head, DescriptorChain chain)
    {
        if (chain.ReadableLength + chain.WritableLength > uint.MaxValue)
        {
            return Break($"chain {head} has more than 4 GiB");
        }

        _taken[head] = true;
        return PopResult.Popped;
    }

    private PopResult Break(string defect)
    {
        Defect = $"Queue {_index}: {_buffers.FindLoss() ?? defect}";
        return PopResult.Broken;
    }

    private void CheckUsedLog()
    {
        ulong usedEnd = _usedLogAddress + (ulong)SplitLayout.UsedSize((int)_size);
        if (_usedLog is not null && (usedEnd < _usedLogAddress || !_usedLog.Covers(usedEnd)))
        {
            throw new ErrnoException(Errno.EPROTO, $"SET_VRING_ADDR: log address 0x{_usedLogAddress:x} of queue {_index} is outside of the log");
        }
    }
}
