using Ingot.Linux;

namespace Ingot.Virtio.Rings;

/// <summary>
/// The driver's side of one split virtqueue (VIRTIO 1.3, 2.7). With indirect descriptors a slot is a ring entry with a table of its own; without, each slot owns
/// a fixed run of ring entries. So a head is a slot.
/// </summary>
public sealed unsafe class SplitDriverQueue : DriverQueue
{
    // Without calls wanted, the event index stays behind; it must be moved on before the used index comes around to it.
    private const int StaleEventDistance = 0x4000;

    private const ulong LastMask = SplitLinkStep - 1 - ((ulong)DescriptorFlags.Next << SplitFlagsShift); // without a link to a next one

    private readonly int _mask;
    private readonly int _entryWords;
    private readonly ulong* _ring;
    private readonly byte* _available;
    private readonly byte* _used;
    private readonly uint[] _tableLengths; // as in the ring's entries of tables
    private ushort _availableIndex;
    private ushort _publishedIndex;
    private ushort _lastUsed;
    private ushort _usedEvent;

    internal SplitDriverQueue(byte* memory, int size, int maxSegments, ulong features, FileDescriptor kick)
        : base(memory, size, maxSegments, features, kick)
    {
        _mask = size - 1;
        _entryWords = DescriptorSize(features) / sizeof(ulong);
        _ring = (ulong*)memory;
        _available = memory + Align(size * DescriptorSize(features));
        _used = _available + Align(SplitLayout.AvailableSize(size));
        _tableLengths = new uint[SlotCount];
        DisableCalls();
    }

    /// <inheritdoc/>
    public override ulong DescriptorAddress => (ulong)_ring;

    /// <inheritdoc/>
    public override ulong AvailableAddress => (ulong)_available;

    /// <inheritdoc/>
    public override ulong UsedAddress => (ulong)_used;

    /// <inheritdoc/>
    public override uint Base => 0;

    /// <inheritdoc/>
    public override bool TryTakeUsed(out int slot)
    {
        slot = 0;
        ushort index = Volatile.Read(ref *(ushort*)(_used + SplitLayout.IndexOffset));
        int ready = (ushort)(index - _lastUsed);
        if (ready == 0)
        {
            return false;
        }

        if (ready > Unanswered)
        {
            throw new ErrnoException(Errno.EPROTO, $"The device moved its used index from {_lastUsed} to {index}, but only {Unanswered} requests are in flight");
        }

        // SAFETY: the slot is within the used ring. One read makes a copy, which is checked: the device can change the ring at any time.
        ulong element = Volatile.Read(ref ((ulong*)(_used + SplitLayout.RingOffset))[_lastUsed & _mask]);
        uint id = (uint)element;
        if (IsEmbedded)
        {
            UsedStatus = (byte)(id >> EmbeddedLayout.UsedStatusShift);
            id = (ushort)id;
        }

        slot = (int)SlotOf(id);
        Accept((uint)slot, id, (uint)(element >> 32));
        _lastUsed++;
        if ((ushort)(_lastUsed - _usedEvent) > StaleEventDistance)
        {
            DisableCalls();
        }

        return true;
    }

    /// <inheritdoc/>
    public override bool EnableCalls()
    {
        if (EventIndex)
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

    /// <inheritdoc/>
    public override void DisableCalls()
    {
        if (EventIndex)
        {
            WriteUsedEvent((ushort)(_lastUsed - 1));
        }
        else
        {
            Volatile.Write(ref *(ushort*)(_available + SplitLayout.FlagsOffset), SplitLayout.AvailableNoInterrupt);
        }
    }

    private protected override void Lay(int slot, ulong* pieces, int count, ulong headerLow, ulong headerHigh)
    {
        int head = Indirect ? slot : slot * MaxDescriptors;
        if (UsesTablesOnly)
        {
            pieces[((count - 1) * Words) + 1] &= LastMask;
            LayTable(slot, count);
        }
        else if (IsEmbedded && Indirect && count > 1)
        {
            Copy(Table(slot), Words, pieces, count, 0);
            LayTable(slot, count);
        }
        else
        {
            LayChain(head, pieces, count);
        }

        // SAFETY: head is below Size, whose entries and available ring lie in our memory.
        if (IsEmbedded)
        {
            ulong* entry = Entry(head);
            entry[2] = headerLow;
            entry[3] = headerHigh;
        }

        ((ushort*)(_available + SplitLayout.RingOffset))[_availableIndex & _mask] = (ushort)head;
        _availableIndex++;
    }

    private protected override bool PublishRing()
    {
        ushort old = _publishedIndex;
        _publishedIndex = _availableIndex;
        Volatile.Write(ref *(ushort*)(_available + SplitLayout.IndexOffset), _availableIndex);
        Interlocked.MemoryBarrier(); // the index must be out before the device's wish is read (VIRTIO 1.3, 2.7.13.4)
        return EventIndex
            ? SplitLayout.NeedsEvent(Volatile.Read(ref *(ushort*)(_used + SplitLayout.AvailableEventOffset(Size))), _availableIndex, old)
            : (Volatile.Read(ref *(ushort*)(_used + SplitLayout.FlagsOffset)) & SplitLayout.UsedNoNotify) == 0;
    }

    // The entry of a table mostly is as it was: left alone, its cache line stays with both sides.
    private void LayTable(int slot, int count)
    {
        uint length = (uint)(count * SplitLayout.DescriptorSize);
        if (_tableLengths[slot] != length)
        {
            // SAFETY: with tables a slot is an entry of the ring.
            _tableLengths[slot] = length;
            ulong* entry = Entry(slot);
            entry[0] = (ulong)Table(slot);
            entry[1] = length | ((ulong)DescriptorFlags.Indirect << SplitFlagsShift);
        }
    }

    private void LayChain(int head, ulong* pieces, int count)
    {
        // SAFETY: from head on there are MaxDescriptors entries, or one if a slot is an entry, and as many pieces at most.
        ulong* entry = Entry(head);
        if (count == 0)
        {
            entry[0] = entry[1] = 0;
        }

        Copy(entry, _entryWords, pieces, count, head);
        if (Indirect)
        {
            _tableLengths[head] = 0;
        }
    }

    private static void Copy(ulong* entry, int words, ulong* pieces, int count, int firstIndex)
    {
        for (int i = 0; i < count; i++)
        {
            ulong rest = pieces[(i * Words) + 1];
            entry[0] = pieces[i * Words];
            entry[1] = i < count - 1 ? rest + ((ulong)firstIndex * SplitLinkStep) : rest & LastMask;
            entry += words;
        }
    }

    private ulong* Entry(int index) => _ring + ((long)index * _entryWords);

    private uint SlotOf(uint id)
    {
        if (Indirect)
        {
            return id;
        }

        uint run = (uint)MaxDescriptors;
        return id % run == 0 ? id / run : uint.MaxValue;
    }

    private void WriteUsedEvent(ushort index)
    {
        _usedEvent = index;
        Volatile.Write(ref *(ushort*)(_available + SplitLayout.UsedEventOffset(Size)), index);
    }
}
