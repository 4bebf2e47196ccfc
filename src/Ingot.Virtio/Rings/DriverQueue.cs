using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ingot.Linux;

namespace Ingot.Virtio.Rings;

/// <summary>
/// The driver's side of one virtqueue, whatever its layout. Requests live in slots. What a queue needs to know of them it keeps to itself: nothing is read back from memory
/// that the device can write but its answers, each of which is checked against what is in flight.
/// </summary>
public abstract unsafe class DriverQueue
{
    private protected const int CacheLine = 64;
    private protected const int SplitFlagsShift = 32; // in the second word of a split ring's descriptor
    private protected const int PackedFlagsShift = 48;
    private protected const ulong SplitLink = ((ulong)DescriptorFlags.Next << SplitFlagsShift) | SplitLinkStep; // to the second descriptor of a table
    private protected const ulong SplitLinkStep = 1UL << 48;
    private protected const int Words = 2; // of a descriptor in a table
    private const int DirectDescriptorsPerSlot = 8;
    private const long Idle = -1;

    private readonly int _kick;
    private readonly byte* _tables;
    private readonly int _tableStride;
    private readonly int[] _free;
    private readonly Slot[] _slots;
    private readonly ulong[] _collected; // pinned
    private readonly ulong* _collectedStart;
    private readonly ulong _writeFlag;
    private readonly ulong _link;
    private readonly ulong _linkStep;
    private ulong* _next;
    private ulong _nextLink;
    private uint _writable;
    private int _freeCount;
    private long _submitted;
    private long _published;
    private long _answered;

    private protected DriverQueue(byte* memory, int size, int maxSegments, ulong features, FileDescriptor kick)
    {
        if (size is < 2 or > SplitLayout.MaxQueueSize || (size & (size - 1)) != 0)
        {
            throw new ErrnoException(Errno.EINVAL, $"Queue size {size} is not a power of two from 2 to {SplitLayout.MaxQueueSize}");
        }

        Size = size;
        Indirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
        EventIndex = (features & VirtioFeatures.EventIndex) != 0;
        IsEmbedded = (features & VirtioFeatures.EmbeddedRequests) == VirtioFeatures.EmbeddedRequests;
        MaxDescriptors = DescriptorsPerSlot(size, maxSegments, Indirect);
        SlotCount = Indirect ? size : size / MaxDescriptors;
        _kick = kick.Value;
        _tables = memory + RingSize(size, features);
        _tableStride = TableStride(MaxDescriptors);
        _free = new int[SlotCount];
        _slots = new Slot[SlotCount];
        _collected = GC.AllocateArray<ulong>(MaxDescriptors * Words, pinned: true);
        _collectedStart = (ulong*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_collected));
        (_writeFlag, _link, _linkStep) = IsPacked(features)
            ? ((ulong)DescriptorFlags.Write << PackedFlagsShift, 0UL, 0UL)
            : ((ulong)DescriptorFlags.Write << SplitFlagsShift, SplitLink, SplitLinkStep);
        Array.Fill(_slots, new Slot { Order = Idle });
        for (int slot = SlotCount - 1; slot >= 0; slot--)
        {
            Return(slot);
        }
    }

    /// <summary>Requests that can be in flight.</summary>
    public int SlotCount { get; }

    /// <summary>The most descriptors of a request.</summary>
    public int MaxDescriptors { get; }

    /// <summary>Ring entries.</summary>
    public int Size { get; }

    /// <summary>True when headers and status bytes go in the ring's entries (docs/embedded-virtqueue.md), not in buffers.</summary>
    public bool IsEmbedded { get; }

    /// <summary>The status of the request that was taken last; only if <see cref="IsEmbedded"/>.</summary>
    public byte UsedStatus { get; private protected set; }

    /// <summary>Requests that the device has, or gets at the next <see cref="Publish"/>.</summary>
    public int InFlight => SlotCount - _freeCount;

    /// <summary>True when a request can be started.</summary>
    public bool HasFreeSlot => _freeCount > 0;

    /// <summary>Where the descriptors lie.</summary>
    public abstract ulong DescriptorAddress { get; }

    /// <summary>Where the available ring lies, or the driver's event suppression.</summary>
    public abstract ulong AvailableAddress { get; }

    /// <summary>Where the used ring lies, or the device's event suppression.</summary>
    public abstract ulong UsedAddress { get; }

    /// <summary>Where a device begins, as vhost-user's SET_VRING_BASE has it.</summary>
    public abstract uint Base { get; }

    private protected bool Indirect { get; }

    private protected bool EventIndex { get; }

    /// <summary>Tables are all that this queue uses: descriptors are collected where they belong.</summary>
    private protected bool UsesTablesOnly => Indirect && !IsEmbedded;

    /// <summary>Requests that the device has been shown and has not answered.</summary>
    private protected long Unanswered => _published - _answered;

    /// <summary>Lays a queue out in zeroed memory.</summary>
    /// <param name="memory">At least <see cref="MemorySize"/> bytes, aligned to a page, at the same address for the device.</param>
    /// <param name="size">Ring entries, a power of two.</param>
    /// <param name="maxSegments">The most descriptors that a request wants; see <see cref="MaxDescriptors"/> for what it gets.</param>
    /// <param name="features">The features negotiated: they decide the layout.</param>
    /// <param name="kick">The doorbell of the device; stays open as long as the queue is used.</param>
    /// <returns>The queue.</returns>
    public static DriverQueue Create(byte* memory, int size, int maxSegments, ulong features, FileDescriptor kick)
        => IsPacked(features) ? new PackedDriverQueue(memory, size, maxSegments, features, kick) : new SplitDriverQueue(memory, size, maxSegments, features, kick);

    /// <summary>Bytes that a queue needs.</summary>
    /// <param name="size">Ring entries.</param>
    /// <param name="maxSegments">The most descriptors that a request wants.</param>
    /// <param name="features">The features negotiated.</param>
    /// <returns>Bytes, whole pages.</returns>
    public static long MemorySize(int size, int maxSegments, ulong features)
    {
        bool indirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
        long tables = indirect ? (long)size * TableStride(DescriptorsPerSlot(size, maxSegments, indirect)) : 0;
        return (RingSize(size, features) + tables + 4095) & ~4095L;
    }

    /// <summary>Takes a slot for a request, and begins to collect its descriptors.</summary>
    /// <returns>The slot; <see cref="HasFreeSlot"/> was asked before.</returns>
    public int Rent()
    {
        int slot = _free[--_freeCount];
        _next = UsesTablesOnly ? Table(slot) : _collectedStart;
        _nextLink = _link;
        _writable = 0;
        return slot;
    }

    /// <summary>Adds a descriptor to the request. Those that the device reads come first.</summary>
    /// <param name="memory">The bytes, in memory that the device has.</param>
    /// <param name="length">Their number.</param>
    /// <param name="deviceWrites">True when the device writes them.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(void* memory, uint length, bool deviceWrites)
    {
        // SAFETY: the caller adds MaxDescriptors at most, which is what a table and the private memory have room for.
        ulong* entry = _next;
        entry[0] = (ulong)memory;
        entry[1] = length | _nextLink | (deviceWrites ? _writeFlag : 0);
        _next = entry + Words;
        _nextLink += _linkStep;
        _writable += deviceWrites ? length : 0;
    }

    /// <summary>Makes the request available; the device sees it after <see cref="Publish"/>.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="headerLow">The first 8 bytes of its header; only if <see cref="IsEmbedded"/>.</param>
    /// <param name="headerHigh">The next 8 bytes.</param>
    public void Submit(int slot, ulong headerLow = 0, ulong headerHigh = 0)
    {
        _slots[slot] = new Slot { Order = _submitted++, Writable = _writable };
        ulong* first = UsesTablesOnly ? Table(slot) : _collectedStart;
        Lay(slot, first, (int)(_next - first) / Words, headerLow, headerHigh);
    }

    /// <summary>Shows the device everything submitted, and rings its doorbell if it asked for that. Once a turn.</summary>
    public void Publish()
    {
        if (_published == _submitted)
        {
            return;
        }

        _published = _submitted;
        if (PublishRing())
        {
            EventFd.Signal(_kick);
        }
    }

    /// <summary>Takes the next request that the device has done.</summary>
    /// <param name="slot">Its slot; the caller gives it back with <see cref="Return"/>.</param>
    /// <returns>False when there is none.</returns>
    /// <exception cref="ErrnoException">The device's answer is nonsense; nothing of this queue can be trusted any more.</exception>
    public abstract bool TryTakeUsed(out int slot);

    /// <summary>Gives a slot back.</summary>
    /// <param name="slot">The slot; not in flight.</param>
    public void Return(int slot) => _free[_freeCount++] = slot;

    /// <summary>Asks the device to ring the call doorbell for the next request that it has done.</summary>
    /// <returns>False when one is done already, so that waiting would be in vain.</returns>
    public abstract bool EnableCalls();

    /// <summary>Tells the device that calls are not needed. A hint: one may still come.</summary>
    public abstract void DisableCalls();

    private protected static int Align(int bytes) => (bytes + CacheLine - 1) & ~(CacheLine - 1);

    private protected static int DescriptorSize(ulong features)
        => (features & VirtioFeatures.EmbeddedRequests) == VirtioFeatures.EmbeddedRequests ? EmbeddedLayout.DescriptorSize : SplitLayout.DescriptorSize;

    /// <summary>Writes a request into the ring.</summary>
    /// <param name="slot">Its slot.</param>
    /// <param name="pieces">Its descriptors as they are in a table, each linked to the next; in the slot's table if <see cref="UsesTablesOnly"/>.</param>
    /// <param name="count">Their number.</param>
    /// <param name="headerLow">The first half of its header.</param>
    /// <param name="headerHigh">The second half.</param>
    private protected abstract void Lay(int slot, ulong* pieces, int count, ulong headerLow, ulong headerHigh);

    /// <summary>Makes what was laid visible.</summary>
    /// <returns>True when the device wants a kick for it.</returns>
    private protected abstract bool PublishRing();

    /// <summary>The indirect table of a slot.</summary>
    private protected ulong* Table(int slot) => (ulong*)(_tables + ((long)slot * _tableStride));

    /// <summary>Checks an answer against what is in flight, and ends the request.</summary>
    private protected void Accept(uint slot, uint id, uint length)
    {
        Slot[] slots = _slots;
        if (slot >= (uint)slots.Length || (ulong)slots[slot].Order >= (ulong)_published)
        {
            throw new ErrnoException(Errno.EPROTO, $"The device returned descriptor {id}, which is not the head of a request in flight");
        }

        if (length > slots[slot].Writable)
        {
            throw new ErrnoException(Errno.EPROTO, $"The device claims to have written {length} bytes into a request with room for {slots[slot].Writable}");
        }

        slots[slot].Order = Idle;
        _answered++;
    }

    private static bool IsPacked(ulong features) => (features & VirtioFeatures.RingPacked) != 0;

    private static int RingSize(int size, ulong features)
        => Align(size * DescriptorSize(features))
            + (IsPacked(features) ? 2 * CacheLine : Align(SplitLayout.AvailableSize(size)) + Align(SplitLayout.UsedSize(size)));

    private static int DescriptorsPerSlot(int size, int maxSegments, bool indirect)
        => Math.Min(Math.Min(maxSegments, size), indirect ? int.MaxValue : DirectDescriptorsPerSlot);

    // An odd number of cache lines: tables a power of two apart would share a few sets of the processor's caches.
    private static int TableStride(int descriptors) => Align(descriptors * SplitLayout.DescriptorSize) | CacheLine;

    private struct Slot
    {
        internal long Order; // how many requests came before the one in it
        internal uint Writable;
    }
}
