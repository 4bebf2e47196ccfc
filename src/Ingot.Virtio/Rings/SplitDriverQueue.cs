using Ingot.Linux;

namespace Ingot.Virtio.Rings;

/// <summary>
/// The driver's side of one split virtqueue. Requests live in slots: with indirect descriptors one slot a ring entry, each with a table of its own;
/// without, each slot owns a fixed run of ring entries. So a head is a slot, and nothing is read back from memory that the device can write but the used ring,
/// whose every entry is checked against what is in flight.
/// </summary>
public sealed unsafe class SplitDriverQueue
{
    private const int DirectDescriptorsPerSlot = 8;
    private const int CacheLine = 64;

    // Without calls wanted, the event index stays behind; it must be moved on before the used index comes around to it.
    private const int StaleEventDistance = 0x4000;

    private readonly int _size;
    private readonly int _mask;
    private readonly bool _indirect;
    private readonly bool _eventIndex;
    private readonly int _descriptorsPerSlot;
    private readonly int _kick;
    private readonly byte* _ring;
    private readonly byte* _available;
    private readonly byte* _used;
    private readonly byte* _tables;
    private readonly int[] _free;
    private readonly uint[] _writable;
    private readonly bool[] _busy;
    private int _freeCount;
    private int _visible; // published and not used yet
    private ushort _availableIndex;
    private ushort _publishedIndex;
    private ushort _lastUsed;
    private ushort _usedEvent;

    /// <summary>Lays a queue out in zeroed memory.</summary>
    /// <param name="memory">At least <see cref="MemorySize"/> bytes, aligned to a page, at the same address for the device.</param>
    /// <param name="size">Ring entries, a power of two.</param>
    /// <param name="maxSegments">The most descriptors that a request wants; see <see cref="MaxDescriptors"/> for what it gets.</param>
    /// <param name="features">The features negotiated.</param>
    /// <param name="kick">The doorbell of the device; stays open as long as the queue is used.</param>
    public SplitDriverQueue(byte* memory, int size, int maxSegments, ulong features, FileDescriptor kick)
    {
        if (size is < 2 or > SplitLayout.MaxQueueSize || (size & (size - 1)) != 0)
        {
            throw new ErrnoException(Errno.EINVAL, $"Queue size {size} is not a power of two from 2 to {SplitLayout.MaxQueueSize}");
        }

        _size = size;
        _mask = size - 1;
        _indirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
        _eventIndex = (features & VirtioFeatures.EventIndex) != 0;
        _descriptorsPerSlot = DescriptorsPerSlot(size, maxSegments, _indirect);
        _kick = kick.Value;
        _ring = memory;
        _available = memory + Align(SplitLayout.DescriptorTableSize(size));
        _used = _available + Align(SplitLayout.AvailableSize(size));
        _tables = _used + Align(SplitLayout.UsedSize(size));
        SlotCount = _indirect ? size : size / _descriptorsPerSlot;
        _free = new int[SlotCount];
        _writable = new uint[SlotCount];
        _busy = new bool[SlotCount];
        PrepareSlots();
        DisableCalls();
    }

    /// <summary>Requests that can be in flight.</summary>
    public int SlotCount { get; }

    /// <summary>The most descriptors of a request.</summary>
    public int MaxDescriptors => _descriptorsPerSlot;

    /// <summary>Ring entries.</summary>
    public int Size => _size;

    /// <summary>Requests that the device has, or gets at the next <see cref="Publish"/>.</summary>
    public int InFlight => SlotCount - _freeCount;

    /// <summary>True when a request can be started.</summary>
    public bool HasFreeSlot => _freeCount > 0;

    /// <summary>Where the descriptor table lies.</summary>
    public ulong DescriptorAddress => (ulong)_ring;

    /// <summary>Where the available ring lies.</summary>
    public ulong AvailableAddress => (ulong)_available;

    /// <summary>Where the used ring lies.</summary>
    public ulong UsedAddress => (ulong)_used;

    /// <summary>Bytes that a queue needs.</summary>
    /// <param name="size">Ring entries.</param>
    /// <param name="maxSegments">The most descriptors that a request wants.</param>
    /// <param name="features">The features negotiated.</param>
    /// <returns>Bytes, whole pages.</returns>
    public static long MemorySize(int size, int maxSegments, ulong features)
    {
        bool indirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
        long tables = indirect ? (long)size * Align(DescriptorsPerSlot(size, maxSegments, indirect) * SplitLayout.DescriptorSize) : 0;
        long bytes = Align(SplitLayout.DescriptorTableSize(size)) + Align(SplitLayout.AvailableSize(size)) + Align(SplitLayout.UsedSize(size)) + tables;
        return (bytes + 4095) & ~4095L;
    }

    /// <summary>Takes a slot for a request.</summary>
    /// <returns>The slot; <see cref="HasFreeSlot"/> was asked before.</returns>
    public int Rent()
    {
        int slot = _free[--_freeCount];
        _writable[slot] = 0;
        return slot;
    }

    /// <summary>Sets a descriptor of a request. Those that the device reads come first.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="index">Which descriptor, below <see cref="MaxDescriptors"/>.</param>
    /// <param name="memory">The bytes, in memory that the device has.</param>
    /// <param name="length">Their number.</param>
    /// <param name="deviceWrites">True when the device writes them.</param>
    public void SetDescriptor(int slot, int index, void* memory, uint length, bool deviceWrites)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)_descriptorsPerSlot);
        // SAFETY: the table of a slot has _descriptorsPerSlot entries.
        Descriptor* entry = Table(slot) + index;
        entry->Address = (ulong)memory;
        entry->Length = length;
        entry->Flags = deviceWrites ? DescriptorFlags.Write | DescriptorFlags.Next : DescriptorFlags.Next;
        entry->Next = (ushort)(NextBase(slot) + index + 1);
        if (deviceWrites)
        {
            _writable[slot] += length;
        }
    }

    /// <summary>Makes a request available; the device sees it after <see cref="Publish"/>.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="descriptors">How many were set.</param>
    public void Submit(int slot, int descriptors)
    {
        // SAFETY: descriptors is at most _descriptorsPerSlot, whose entries SetDescriptor has checked; slot is below SlotCount.
        Table(slot)[descriptors - 1].Flags &= ~DescriptorFlags.Next;
        int head = slot;
        if (_indirect)
        {
            ((Descriptor*)_ring)[slot].Length = (uint)(descriptors * SplitLayout.DescriptorSize);
        }
        else
        {
            head = slot * _descriptorsPerSlot;
        }

        _busy[slot] = true;
        ((ushort*)(_available + SplitLayout.RingOffset))[_availableIndex & _mask] = (ushort)head;
        _availableIndex++;
    }

    /// <summary>Shows the device everything submitted, and rings its doorbell if it asked for that. Once a turn.</summary>
    public void Publish()
    {
        ushort old = _publishedIndex;
        if (old == _availableIndex)
        {
            return;
        }

        _publishedIndex = _availableIndex;
        _visible += (ushort)(_availableIndex - old);
        Volatile.Write(ref *(ushort*)(_available + SplitLayout.IndexOffset), _availableIndex);
        Interlocked.MemoryBarrier(); // the index must be out before the device's wish is read (VIRTIO 1.3, 2.7.13.4)
        if (DeviceWantsKick(old))
        {
            EventFd.Signal(_kick);
        }
    }

    /// <summary>Takes the next request that the device has done.</summary>
    /// <param name="slot">Its slot; the caller gives it back with <see cref="Return"/>.</param>
    /// <returns>False when there is none.</returns>
    /// <exception cref="ErrnoException">The used ring holds nonsense; nothing of this queue can be trusted any more.</exception>
    public bool TryTakeUsed(out int slot)
    {
        slot = 0;
        ushort index = Volatile.Read(ref *(ushort*)(_used + SplitLayout.IndexOffset));
        int ready = (ushort)(index - _lastUsed);
        if (ready == 0)
        {
            return false;
        }

        if (ready > _visible)
        {
            throw new ErrnoException(Errno.EPROTO, $"The device moved its used index from {_lastUsed} to {index}, but only {_visible} requests are in flight");
        }

        // Copied before it is checked: the device can change the ring at any time.
        UsedElement element = ((UsedElement*)(_used + SplitLayout.RingOffset))[_lastUsed & _mask];
        slot = CheckUsed(element.Id, element.Length);
        _busy[slot] = false;
        _visible--;
        _lastUsed++;
        if ((ushort)(_lastUsed - _usedEvent) > StaleEventDistance)
        {
            DisableCalls();
        }

        return true;
    }

    /// <summary>Gives a slot back.</summary>
    /// <param name="slot">The slot; not in flight.</param>
    public void Return(int slot) => _free[_freeCount++] = slot;

    /// <summary>Asks the device to ring the call doorbell for the next request that it has done.</summary>
    /// <returns>False when one is done already, so that waiting would be in vain.</returns>
    public bool EnableCalls()
    {
        if (_eventIndex)
        {
            WriteUsedEvent(_lastUsed);
        }
        else
        {
            Volatile.Write(ref *(ushort*)(_available + SplitLayout.FlagsOffset), 0);
        }

        Interlocked.MemoryBarrier(); // the wish must be out before the index is looked at once more (VIRTIO 1.3, 2.7.14)
        return Volatile.Read(ref *(ushort*)(_used + SplitLayout.IndexOffset)) == _lastUsed;
    }

    /// <summary>Tells the device that calls are not needed. A hint: one may still come.</summary>
    public void DisableCalls()
    {
        if (_eventIndex)
        {
            WriteUsedEvent((ushort)(_lastUsed - 1));
        }
        else
        {
            Volatile.Write(ref *(ushort*)(_available + SplitLayout.FlagsOffset), SplitLayout.AvailableNoInterrupt);
        }
    }

    private static int Align(int bytes) => (bytes + CacheLine - 1) & ~(CacheLine - 1);

    private static int DescriptorsPerSlot(int size, int maxSegments, bool indirect)
        => indirect ? Math.Min(maxSegments, size) : Math.Min(Math.Min(maxSegments, size), DirectDescriptorsPerSlot);

    private Descriptor* Table(int slot)
        => _indirect
            ? (Descriptor*)(_tables + ((long)slot * Align(_descriptorsPerSlot * SplitLayout.DescriptorSize)))
            : (Descriptor*)_ring + (slot * _descriptorsPerSlot);

    private int NextBase(int slot) => _indirect ? 0 : slot * _descriptorsPerSlot;

    private void PrepareSlots()
    {
        for (int slot = SlotCount - 1; slot >= 0; slot--)
        {
            Return(slot);
            if (_indirect)
            {
                // SAFETY: slot is below _size.
                Descriptor* entry = (Descriptor*)_ring + slot;
                entry->Address = (ulong)Table(slot);
                entry->Flags = DescriptorFlags.Indirect;
            }
        }
    }

    private bool DeviceWantsKick(ushort old)
        => _eventIndex
            ? SplitLayout.NeedsEvent(Volatile.Read(ref *(ushort*)(_used + SplitLayout.AvailableEventOffset(_size))), _availableIndex, old)
            : (Volatile.Read(ref *(ushort*)(_used + SplitLayout.FlagsOffset)) & SplitLayout.UsedNoNotify) == 0;

    private int CheckUsed(uint id, uint length)
    {
        uint slot = _indirect ? id : id / (uint)_descriptorsPerSlot;
        bool isHead = _indirect || id % (uint)_descriptorsPerSlot == 0;
        if (!isHead || slot >= (uint)SlotCount || !_busy[slot])
        {
            throw new ErrnoException(Errno.EPROTO, $"The device returned descriptor {id}, which is not the head of a request in flight");
        }

        return length <= _writable[slot]
            ? (int)slot
            : throw new ErrnoException(Errno.EPROTO, $"The device claims to have written {length} bytes into a request with room for {_writable[slot]}");
    }

    private void WriteUsedEvent(ushort index)
    {
        _usedEvent = index;
        Volatile.Write(ref *(ushort*)(_available + SplitLayout.UsedEventOffset(_size)), index);
    }
}
