using Ingot.Linux;
using Ingot.Rings.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Rings.Virtio;

/// <summary>The device of a packed virtqueue. Of a batch of answers, the flags of the first are written last.</summary>
internal sealed unsafe class PackedDevice<TProbe> : DeviceRing
    where TProbe : struct, IMemoryProbe
{
    private readonly SharedWindow _window;
    private readonly VirtioRingOptions _options;
    private readonly PackedAreas _areas;
    private readonly int _size;
    private readonly Taken[] _taken; // by buffer id
    private ChainReader<TProbe> _reader;
    private RingPlace _next;
    private RingPlace _used;
    private RingPlace _published; // answers from here on wait for Publish
    private RingPlace _batchStart; // in order: answers from here on wait for one used descriptor
    private Answer _batch;
    private bool _inBatch;
    private int _inRing; // entries taken and not answered
    private ushort? _firstFlags;

    public PackedDevice(SharedWindow window, RingGeometry geometry, VirtioRingOptions options)
    {
        _window = window;
        _options = options;
        _areas = new PackedAreas(window, geometry, options);
        _size = geometry.QueueSize;
        _taken = new Taken[geometry.Depth];
        _reader = new ChainReader<TProbe>(window, options, geometry);
        _next = _used = _published = _batchStart = new RingPlace(_size);
        DisableKicks();
    }

    public override bool TryTake(DeviceRequest request)
    {
        if (_inRing == _size || !IsAvailable())
        {
            return false;
        }

        _reader.Begin(request, 0);
        RingPlace place = _next;
        PackedDescriptor descriptor = ReadHead(request);
        int entries = 1;
        if ((descriptor.Flags & (ushort)DescriptorFlags.Indirect) != 0)
        {
            ReadTable(descriptor);
            place.Advance(1);
        }
        else
        {
            entries = ReadChain(ref descriptor, ref place);
        }

        Take(descriptor.Id, entries, (nint)_reader.Finish());
        request.Tag = descriptor.Id;
        _next = place;
        return true;
    }

    public override void Complete(ushort tag, byte status, uint length)
    {
        ref Taken taken = ref _taken[tag];
        byte embedded = 0;
        if (_options.EmbedStatus)
        {
            embedded = status;
        }
        else
        {
            Shared<TProbe>.Store((byte*)taken.Status, status);
        }

        if (_options.InOrder && _inBatch && _batch.Status != embedded)
        {
            EndBatch(); // a descriptor stands for requests of the same status only
        }

        _batch = new Answer(tag, embedded, length);
        _inBatch = true;
        _used.Advance(taken.Entries);
        _inRing -= taken.Entries;
        taken.Entries = 0;
        if (!_options.InOrder)
        {
            EndBatch();
        }
    }

    public override bool Publish()
    {
        EndBatch();
        if (_firstFlags is not { } flags)
        {
            return false;
        }

        Shared<TProbe>.Release((ushort*)(EntryAt(_published) + PackedDescriptor.FlagsOffset), flags);
        _firstFlags = null;
        Shared<TProbe>.FullBarrier();
        bool call = _used.NeedsEvent(Shared<TProbe>.Load(_areas.DriverEvent), _published);
        _published = _used;
        return call;
    }

    public override bool EnableKicks()
    {
        Shared<TProbe>.Store(_areas.DeviceEvent, new EventSuppression { Place = _next.Word, Flags = EventSuppression.AtDescriptor });
        Shared<TProbe>.FullBarrier();
        return !IsAvailable();
    }

    public override void DisableKicks() => Shared<TProbe>.Store(_areas.DeviceEvent, new EventSuppression { Flags = EventSuppression.Disable });

    private bool IsAvailable()
    {
        ushort flags = Shared<TProbe>.Acquire((ushort*)(EntryAt(_next) + PackedDescriptor.FlagsOffset));
        ushort wanted = _next.Wrap ? PackedDescriptor.Available : PackedDescriptor.Used;
        return (flags & (PackedDescriptor.Available | PackedDescriptor.Used)) == wanted;
    }

    private PackedDescriptor ReadHead(DeviceRequest request)
    {
        byte* entry = EntryAt(_next);
        if (!_options.EmbedHeader)
        {
            return Shared<TProbe>.Load((PackedDescriptor*)entry);
        }

        EmbeddedPackedDescriptor head = Shared<TProbe>.Load((EmbeddedPackedDescriptor*)entry);
        request.Header = head.Header;
        return head.Descriptor;
    }

    private int ReadChain(ref PackedDescriptor descriptor, ref RingPlace place)
    {
        for (int entries = 1; entries <= Math.Min(_reader.Limit, _size - _inRing); entries++)
        {
            bool isLast = (descriptor.Flags & (ushort)DescriptorFlags.Next) == 0;
            Add(descriptor, isLast);
            place.Advance(1);
            if (isLast)
            {
                return entries;
            }

            descriptor = Shared<TProbe>.Load((PackedDescriptor*)EntryAt(place));
        }

        throw Broken($"sent a chain of more than {_reader.Limit} descriptors, or of more than the ring has free");
    }

    private void ReadTable(in PackedDescriptor head)
    {
        byte* table = _window.Find(head.Address, head.Length);
        uint count = head.Length / PackedDescriptor.Size;
        if (!_options.Indirect || table == null || count == 0 || count > _reader.Limit || (head.Address & 7) != 0)
        {
            throw Broken($"sent an indirect table of {head.Length} bytes at 0x{head.Address:x}, which is misplaced or of the wrong size");
        }

        for (uint i = 0; i < count; i++)
        {
            Add(Shared<TProbe>.Load((PackedDescriptor*)table + i), i == count - 1);
        }
    }

    private void Add(in PackedDescriptor descriptor, bool isLast)
    {
        if ((descriptor.Flags & (ushort)DescriptorFlags.Indirect) != 0)
        {
            throw Broken("sent an indirect table within a chain");
        }

        _reader.Add(new Descriptor { Address = descriptor.Address, Length = descriptor.Length, Flags = (DescriptorFlags)(descriptor.Flags & 2) }, isLast);
    }

    private void Take(ushort id, int entries, nint status)
    {
        if (id >= _taken.Length || _taken[id].Entries != 0)
        {
            throw Broken($"made buffer {id} of {_taken.Length} available, which is none or taken");
        }

        _taken[id] = new Taken { Entries = (ushort)entries, Status = status };
        _inRing += entries;
    }

    private void EndBatch()
    {
        if (!_inBatch)
        {
            return;
        }

        byte* entry = EntryAt(_batchStart);
        ushort flags = _batchStart.Wrap ? (ushort)(PackedDescriptor.Available | PackedDescriptor.Used) : (ushort)0;
        Shared<TProbe>.Store((uint*)(entry + 8), _batch.Length);
        Shared<TProbe>.Store((ushort*)(entry + 12), _batch.Id);
        if (_options.EmbedStatus)
        {
            Shared<TProbe>.Store(entry + PackedDescriptor.Size, _batch.Status);
        }

        if (_firstFlags is null)
        {
            _firstFlags = flags;
        }
        else
        {
            Shared<TProbe>.Store((ushort*)(entry + PackedDescriptor.FlagsOffset), flags);
        }

        _inBatch = false;
        _batchStart = _used;
    }

    private byte* EntryAt(RingPlace place) => _areas.Descriptors + ((long)place.Offset * _options.DescriptorStride);

    private static ErrnoException Broken(string what) => new(Errno.EPROTO, $"The driver {what}");

    private readonly record struct Answer(ushort Id, byte Status, uint Length);

    private struct Taken
    {
        public ushort Entries; // zero for an id that the driver may use
        public nint Status; // where its status byte goes
    }
}
