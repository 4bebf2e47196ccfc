using Ingot.Linux;
using Ingot.Rings.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Rings.Virtio;

/// <summary>The driver of a split virtqueue (VIRTIO 1.3, 2.7). A request occupies its descriptors until it is answered.</summary>
internal sealed unsafe class SplitDriver<TProbe> : DriverRing
    where TProbe : struct, IMemoryProbe
{
    private readonly SharedWindow _window;
    private readonly VirtioRingOptions _options;
    private readonly SplitAreas _areas;
    private readonly int _mask;
    private readonly ushort* _availableEvent;
    private readonly ushort[] _next; // the one after a descriptor in its chain or on the free list; private, since the device may write to the ring
    private readonly InFlight[] _inFlight; // by head
    private int _free;
    private int _freeCount;
    private int _oldest; // the head that is answered next, in order
    private int _batchEnd = -1; // the last head that the used entry at hand answers, in order
    private ulong _batchElement;
    private long _submitted;
    private long _published;
    private ushort _availableIndex;
    private ushort _publishedIndex;
    private ushort _lastUsed;
    private ushort _knownUsed;

    public SplitDriver(SharedWindow window, RingGeometry geometry, VirtioRingOptions options)
    {
        int size = geometry.QueueSize;
        _window = window;
        _options = options;
        _areas = new SplitAreas(window, geometry, options);
        _mask = size - 1;
        _availableEvent = (ushort*)(_areas.Used + SplitLayout.AvailableEventOffset(size));
        _next = [.. Enumerable.Range(1, size).Select(i => (ushort)(i & _mask))];
        _inFlight = new InFlight[size];
        _freeCount = size;
        DisableCalls();
    }

    public override bool TrySubmit(ushort token, in RequestHeader header, ReadOnlySpan<Segment> segments)
    {
        byte* block = _areas.Blocks + (token * RequestBlock.Size);
        var pieces = new RequestPieces(_options, _window.AddressOf(block), header.Type, segments);
        bool inTable = _options.Indirect && pieces.Count > 1;
        int entries = inTable ? 1 : pieces.Count;
        if (entries > _freeCount)
        {
            return false;
        }

        RequestBlock.Write<TProbe>(block, header, _options);
        int head = _free;
        _inFlight[head] = new InFlight { Entries = (ushort)entries, Token = token, Order = _submitted++ };
        if (inTable)
        {
            WriteTable(token, header, pieces);
        }
        else
        {
            WriteChain(header, pieces);
        }

        _freeCount -= entries;
        Shared<TProbe>.Store((ushort*)(_areas.Available + SplitLayout.RingOffset) + (_availableIndex & _mask), (ushort)head);
        _availableIndex++;
        return true;
    }

    public override bool Publish()
    {
        ushort old = _publishedIndex;
        if (old == _availableIndex)
        {
            return false;
        }

        _publishedIndex = _availableIndex;
        _published = _submitted;
        Shared<TProbe>.Release((ushort*)(_areas.Available + SplitLayout.IndexOffset), _availableIndex);
        Shared<TProbe>.FullBarrier();
        return SplitLayout.NeedsEvent(Shared<TProbe>.Acquire(_availableEvent), _availableIndex, old);
    }

    public override bool TryTakeCompletion(out Completion completion)
    {
        if (_batchEnd < 0 && _lastUsed == _knownUsed && !RefreshUsed())
        {
            completion = default;
            return false;
        }

        completion = _options.InOrder ? TakeInOrder() : TakeNext();
        return true;
    }

    public override bool EnableCalls()
    {
        WriteUsedEvent(_lastUsed);
        Shared<TProbe>.FullBarrier();
        return Shared<TProbe>.Acquire((ushort*)(_areas.Used + SplitLayout.IndexOffset)) == _lastUsed;
    }

    public override void DisableCalls() => WriteUsedEvent((ushort)(_lastUsed - 1));

    private void WriteChain(in RequestHeader header, RequestPieces pieces)
    {
        for (int i = 0; i < pieces.Count; i++)
        {
            Descriptor descriptor = pieces[i];
            if (i < pieces.Count - 1)
            {
                descriptor.Flags |= DescriptorFlags.Next;
                descriptor.Next = _next[_free];
            }

            WriteEntry(_free, descriptor, header, i == 0);
            _free = _next[_free];
        }
    }

    private void WriteTable(ushort token, in RequestHeader header, RequestPieces pieces)
    {
        var table = (Descriptor*)(_areas.Tables + ((long)token * _areas.TableStride));
        for (int i = 0; i < pieces.Count; i++)
        {
            Descriptor descriptor = pieces[i];
            if (i < pieces.Count - 1)
            {
                descriptor.Flags |= DescriptorFlags.Next;
                descriptor.Next = (ushort)(i + 1);
            }

            Shared<TProbe>.Store(table + i, descriptor);
        }

        uint bytes = (uint)(pieces.Count * SplitLayout.DescriptorSize);
        WriteEntry(_free, new Descriptor { Address = _window.AddressOf(table), Length = bytes, Flags = DescriptorFlags.Indirect }, header, true);
        _free = _next[_free];
    }

    private void WriteEntry(int index, in Descriptor descriptor, in RequestHeader header, bool isHead)
    {
        byte* entry = _areas.Descriptors + ((long)index * _options.DescriptorStride);
        if (_options.EmbedHeader && isHead)
        {
            Shared<TProbe>.Store((EmbeddedDescriptor*)entry, new EmbeddedDescriptor { Descriptor = descriptor, Header = header });
        }
        else
        {
            Shared<TProbe>.Store((Descriptor*)entry, descriptor);
        }
    }

    private bool RefreshUsed()
    {
        _knownUsed = Shared<TProbe>.Acquire((ushort*)(_areas.Used + SplitLayout.IndexOffset));
        return (ushort)(_knownUsed - _lastUsed) <= (ushort)(_publishedIndex - _lastUsed)
            ? _knownUsed != _lastUsed
            : throw Broken($"moved its used index from {_lastUsed} to {_knownUsed}, but was asked only {(ushort)(_publishedIndex - _lastUsed)} times");
    }

    private Completion TakeNext()
    {
        ulong element = LoadUsed(out int head);
        _lastUsed++;
        return Answer(head, element);
    }

    private Completion TakeInOrder()
    {
        if (_batchEnd < 0)
        {
            _batchElement = LoadUsed(out _batchEnd);
        }
        else if (_lastUsed == _knownUsed)
        {
            throw Broken($"answered up to descriptor {_batchEnd}, but moved its used index less far");
        }

        int head = _oldest;
        bool isEnd = head == _batchEnd;
        _oldest = (_oldest + _inFlight[head].Entries) & _mask;
        _lastUsed++;
        Completion completion = Answer(head, _batchElement);
        _batchEnd = isEnd ? -1 : _batchEnd;
        return isEnd ? completion : completion with { Length = null };
    }

    private ulong LoadUsed(out int head)
    {
        ulong element = Shared<TProbe>.Load((ulong*)(_areas.Used + SplitLayout.RingOffset) + (_lastUsed & _mask));
        uint id = _options.EmbedStatus ? (ushort)element : (uint)element;
        head = (int)id;
        return id <= (uint)_mask ? element : throw Broken($"answered descriptor {id} of {_mask + 1}");
    }

    private Completion Answer(int head, ulong element)
    {
        ref InFlight request = ref _inFlight[head];
        int entries = request.Entries;
        if (entries == 0 || request.Order >= _published)
        {
            throw Broken($"answered descriptor {head}, which is not the head of a request in flight");
        }

        ushort token = request.Token;
        request.Entries = 0;
        byte status = _options.EmbedStatus
            ? (byte)(element >> 16)
            : Shared<TProbe>.Load(_areas.Blocks + (token * RequestBlock.Size) + RequestBlock.StatusOffset);
        Free(head, entries);
        return new Completion(token, status, (uint)(element >> 32));
    }

    // In order the free list is the ring itself, and freeing is counting.
    private void Free(int head, int entries)
    {
        _freeCount += entries;
        if (_options.InOrder)
        {
            return;
        }

        int tail = head;
        for (int i = 1; i < entries; i++)
        {
            tail = _next[tail];
        }

        _next[tail] = (ushort)_free;
        _free = head;
    }

    private void WriteUsedEvent(ushort index)
        => Shared<TProbe>.Release((ushort*)(_areas.Available + SplitLayout.UsedEventOffset(_mask + 1)), index);

    private static ErrnoException Broken(string what) => new(Errno.EPROTO, $"The device {what}");

    private struct InFlight
    {
        public ushort Entries; // zero for a descriptor that is no head of a request in flight
        public ushort Token;
        public long Order; // how many came before it
    }
}
