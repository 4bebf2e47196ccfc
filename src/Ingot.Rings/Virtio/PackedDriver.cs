using Ingot.Linux;
using Ingot.Rings.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Rings.Virtio;

/// <summary>The driver of a packed virtqueue (VIRTIO 1.3, 2.8). Of a batch, the flags of the first descriptor are written last: they make all of it visible.</summary>
internal sealed unsafe class PackedDriver<TProbe> : DriverRing
    where TProbe : struct, IMemoryProbe
{
    private readonly SharedWindow _window;
    private readonly VirtioRingOptions _options;
    private readonly PackedAreas _areas;
    private readonly InFlight[] _inFlight; // by token, which is the buffer id
    private readonly ushort[] _order; // tokens as submitted, a ring
    private RingPlace _next;
    private RingPlace _batch; // where the batch begins that was not published
    private RingPlace _used;
    private int _freeCount;
    private int _batchEnd = -1; // the last token that the used descriptor at hand answers, in order
    private Answer _answer;
    private ushort _firstFlags;
    private long _submitted;
    private long _published;
    private long _answered;

    public PackedDriver(SharedWindow window, RingGeometry geometry, VirtioRingOptions options)
    {
        _window = window;
        _options = options;
        _areas = new PackedAreas(window, geometry, options);
        _inFlight = new InFlight[geometry.Depth];
        _order = new ushort[geometry.QueueSize];
        _freeCount = geometry.QueueSize;
        _next = _batch = _used = new RingPlace(geometry.QueueSize);
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
        if (inTable)
        {
            WriteEntry(WriteTable(token, pieces), token, header, true);
        }
        else
        {
            WriteChain(token, header, pieces);
        }

        _freeCount -= entries;
        _inFlight[token] = new InFlight { Entries = (ushort)entries, Order = _submitted };
        _order[_submitted++ & (_order.Length - 1)] = token;
        return true;
    }

    public override bool Publish()
    {
        if (_published == _submitted)
        {
            return false;
        }

        _published = _submitted;
        Shared<TProbe>.Release((ushort*)(EntryAt(_batch) + PackedDescriptor.FlagsOffset), _firstFlags);
        Shared<TProbe>.FullBarrier();
        bool kick = _next.NeedsEvent(Shared<TProbe>.Load(_areas.DeviceEvent), _batch);
        _batch = _next;
        return kick;
    }

    public override bool TryTakeCompletion(out Completion completion)
    {
        if (_batchEnd < 0 && !TryLoadUsed())
        {
            completion = default;
            return false;
        }

        ushort token = _options.InOrder ? NextInOrder() : _answer.Token;
        bool isEnd = token == _batchEnd;
        ref InFlight request = ref _inFlight[token];
        if (request.Entries == 0 || request.Order >= _published)
        {
            throw Broken($"answered buffer {token}, which is not in flight");
        }

        _used.Advance(request.Entries);
        _freeCount += request.Entries;
        request.Entries = 0;
        _answered++;
        byte status = _options.EmbedStatus ? _answer.Status : Shared<TProbe>.Load(_areas.Blocks + (token * RequestBlock.Size) + RequestBlock.StatusOffset);
        completion = new Completion(token, status, isEnd ? _answer.Length : null);
        _batchEnd = isEnd ? -1 : _batchEnd;
        return true;
    }

    public override bool EnableCalls()
    {
        Shared<TProbe>.Store(_areas.DriverEvent, new EventSuppression { Place = _used.Word, Flags = EventSuppression.AtDescriptor });
        Shared<TProbe>.FullBarrier();
        return _batchEnd < 0 && !IsUsed();
    }

    public override void DisableCalls() => Shared<TProbe>.Store(_areas.DriverEvent, new EventSuppression { Flags = EventSuppression.Disable });

    private void WriteChain(ushort token, in RequestHeader header, RequestPieces pieces)
    {
        for (int i = 0; i < pieces.Count; i++)
        {
            Descriptor piece = pieces[i];
            piece.Flags |= i < pieces.Count - 1 ? DescriptorFlags.Next : DescriptorFlags.None;
            WriteEntry(piece, token, header, i == 0);
        }
    }

    private Descriptor WriteTable(ushort token, RequestPieces pieces)
    {
        var table = (PackedDescriptor*)(_areas.Tables + ((long)token * _areas.TableStride));
        for (int i = 0; i < pieces.Count; i++)
        {
            Descriptor piece = pieces[i];
            Shared<TProbe>.Store(table + i, new PackedDescriptor { Address = piece.Address, Length = piece.Length, Flags = (ushort)piece.Flags });
        }

        uint bytes = (uint)(pieces.Count * PackedDescriptor.Size);
        return new Descriptor { Address = _window.AddressOf(table), Length = bytes, Flags = DescriptorFlags.Indirect };
    }

    private void WriteEntry(in Descriptor piece, ushort token, in RequestHeader header, bool isHead)
    {
        byte* entry = EntryAt(_next);
        ushort flags = (ushort)((ushort)piece.Flags | (_next.Wrap ? PackedDescriptor.Available : PackedDescriptor.Used));
        if (_options.EmbedHeader && isHead)
        {
            Shared<TProbe>.Store((RequestHeader*)(entry + PackedDescriptor.Size), header);
        }

        if (_next.Word == _batch.Word)
        {
            // The flags stay as they are, so that the device waits.
            Shared<TProbe>.Store((ulong*)entry, piece.Address);
            Shared<TProbe>.Store((uint*)(entry + 8), piece.Length);
            Shared<TProbe>.Store((ushort*)(entry + 12), token);
            _firstFlags = flags;
        }
        else
        {
            Shared<TProbe>.Store((PackedDescriptor*)entry, new PackedDescriptor { Address = piece.Address, Length = piece.Length, Id = token, Flags = flags });
        }

        _next.Advance(1);
    }

    private bool IsUsed()
    {
        ushort flags = Shared<TProbe>.Acquire((ushort*)(EntryAt(_used) + PackedDescriptor.FlagsOffset));
        ushort wanted = _used.Wrap ? (ushort)(PackedDescriptor.Available | PackedDescriptor.Used) : (ushort)0;
        return (flags & (PackedDescriptor.Available | PackedDescriptor.Used)) == wanted;
    }

    private bool TryLoadUsed()
    {
        if (_answered == _published || !IsUsed())
        {
            return false;
        }

        byte* entry = EntryAt(_used);
        PackedDescriptor used = Shared<TProbe>.Load((PackedDescriptor*)entry);
        byte status = _options.EmbedStatus ? Shared<TProbe>.Load(entry + PackedDescriptor.Size) : (byte)0;
        _answer = used.Id < _inFlight.Length ? new Answer(used.Id, status, used.Length) : throw Broken($"answered buffer {used.Id} of {_inFlight.Length}");
        _batchEnd = used.Id;
        return true;
    }

    private ushort NextInOrder()
        => _answered < _published
            ? _order[_answered & (_order.Length - 1)]
            : throw Broken($"answered up to buffer {_batchEnd}, which is not in flight");

    private byte* EntryAt(RingPlace place) => _areas.Descriptors + ((long)place.Offset * _options.DescriptorStride);

    private static ErrnoException Broken(string what) => new(Errno.EPROTO, $"The device {what}");

    private readonly record struct Answer(ushort Token, byte Status, uint Length);

    private struct InFlight
    {
        public ushort Entries; // zero for a token that is not in flight
        public long Order; // how many came before it
    }
}
