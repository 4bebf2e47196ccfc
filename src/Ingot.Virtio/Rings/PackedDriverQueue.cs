using Ingot.Linux;

namespace Ingot.Virtio.Rings;

/// <summary>
/// The driver's side of one packed virtqueue (VIRTIO 1.3, 2.8). A buffer's id is its slot. With indirect descriptors a request takes one entry of the ring; without,
/// at most as many as a slot's share, so that the ring can't overflow. Of what is published at once, the first entry's flags are written last.
/// </summary>
public sealed unsafe class PackedDriverQueue : DriverQueue
{
    private readonly int _entryWords;
    private readonly ulong* _ring;
    private readonly uint* _driverEvent;
    private readonly uint* _deviceEvent;
    private readonly int[] _entries; // of the ring, by slot
    private PackedPlace _next = PackedPlace.Start;
    private PackedPlace _published = PackedPlace.Start; // entries from here on wait for Publish
    private PackedPlace _used = PackedPlace.Start;
    private ulong _first;
    private bool _hasFirst;
    private uint _wish = uint.MaxValue;

    internal PackedDriverQueue(byte* memory, int size, int maxSegments, ulong features, FileDescriptor kick)
        : base(memory, size, maxSegments, features, kick)
    {
        _entryWords = DescriptorSize(features) / sizeof(ulong);
        _ring = (ulong*)memory;
        _driverEvent = (uint*)(memory + Align(size * DescriptorSize(features)));
        _deviceEvent = _driverEvent + (CacheLine / sizeof(uint));
        _entries = new int[SlotCount];
        DisableCalls();
    }

    /// <inheritdoc/>
    public override ulong DescriptorAddress => (ulong)_ring;

    /// <inheritdoc/>
    public override ulong AvailableAddress => (ulong)_driverEvent;

    /// <inheritdoc/>
    public override ulong UsedAddress => (ulong)_deviceEvent;

    /// <inheritdoc/>
    public override uint Base => PackedPlace.Start.Word | ((uint)PackedPlace.Start.Word << 16);

    /// <inheritdoc/>
    public override bool TryTakeUsed(out int slot)
    {
        slot = 0;
        // SAFETY: a place is within the ring. One read makes a copy, which is checked: the device can change the ring at any time.
        ulong half = Volatile.Read(ref Entry(_used)[1]);
        if (!_used.IsUsed(PackedLayout.FlagsOf(half)))
        {
            return false;
        }

        if (IsEmbedded)
        {
            UsedStatus = Volatile.Read(ref *((byte*)Entry(_used) + EmbeddedLayout.PackedStatusOffset));
        }

        slot = PackedLayout.IdOf(half);
        bool written = ((DescriptorFlags)PackedLayout.FlagsOf(half) & DescriptorFlags.Write) != 0; // without it, the length has no meaning
        Accept((uint)slot, (uint)slot, written ? (uint)half : 0);
        _used = _used.Plus(_entries[slot], Size);
        return true;
    }

    /// <inheritdoc/>
    public override bool EnableCalls()
    {
        WishForCalls(EventIndex ? _used.Word | (PackedLayout.EventAtDescriptor << 16) : PackedLayout.EventEnable << 16);
        Interlocked.MemoryBarrier(); // the wish must be out before the entry is looked at once more
        return !_used.IsUsed(PackedLayout.FlagsOf(Volatile.Read(ref Entry(_used)[1])));
    }

    /// <inheritdoc/>
    public override void DisableCalls() => WishForCalls(PackedLayout.EventDisable << 16);

    private protected override void Lay(int slot, ulong* pieces, int count, ulong headerLow, ulong headerHigh)
    {
        if (IsEmbedded)
        {
            // SAFETY: a place is within the ring.
            ulong* entry = Entry(_next);
            entry[2] = headerLow;
            entry[3] = headerHigh;
        }

        if (Indirect && !(IsEmbedded && count <= 1))
        {
            // SAFETY: a table has MaxDescriptors entries, and there are as many pieces at most.
            ulong* table = Table(slot);
            if (pieces != table)
            {
                new ReadOnlySpan<ulong>(pieces, count * Words).CopyTo(new Span<ulong>(table, count * Words));
            }

            _entries[slot] = 1;
            LayEntry(slot, (ulong)table, (uint)(count * PackedLayout.DescriptorSize) | ((ulong)DescriptorFlags.Indirect << PackedFlagsShift));
        }
        else
        {
            LayChain(slot, pieces, count);
        }
    }

    private protected override bool PublishRing()
    {
        Volatile.Write(ref Entry(_published)[1], _first);
        _hasFirst = false;
        PackedPlace from = _published;
        _published = _next;
        Interlocked.MemoryBarrier(); // the entry must be out before the device's wish is read
        return _next.NeedsEvent(Volatile.Read(ref *_deviceEvent), from, Size);
    }

    private void LayChain(int slot, ulong* pieces, int count)
    {
        _entries[slot] = Math.Max(count, 1);
        if (count == 0)
        {
            LayEntry(slot, 0, 0);
        }

        for (int i = 0; i < count; i++)
        {
            LayEntry(slot, pieces[i * Words], pieces[(i * Words) + 1] | (i < count - 1 ? (ulong)DescriptorFlags.Next << PackedFlagsShift : 0));
        }
    }

    private void LayEntry(int slot, ulong address, ulong lengthAndFlags)
    {
        // SAFETY: a place is within the ring.
        ulong* entry = Entry(_next);
        ulong half = lengthAndFlags | PackedLayout.Pack(0, (ushort)slot, _next.AvailableFlags);
        entry[0] = address;
        if (_hasFirst)
        {
            Volatile.Write(ref entry[1], half);
        }
        else
        {
            _first = half;
            _hasFirst = true;
        }

        _next = _next.Plus(1, Size);
    }

    private ulong* Entry(PackedPlace place) => _ring + ((long)place.Offset * _entryWords);

    private void WishForCalls(int wish)
    {
        if (_wish != (uint)wish)
        {
            _wish = (uint)wish;
            Volatile.Write(ref *_driverEvent, (uint)wish);
        }
    }
}
