using Ingot.Linux;
using Ingot.Rings.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Rings.Virtio;

/// <summary>The device of a split virtqueue.</summary>
internal sealed unsafe class SplitDevice<TProbe> : DeviceRing
    where TProbe : struct, IMemoryProbe
{
    private readonly SharedWindow _window;
    private readonly VirtioRingOptions _options;
    private readonly SplitAreas _areas;
    private readonly int _size;
    private readonly ushort* _usedEvent;
    private readonly nint[] _status; // by head: where its status byte goes
    private readonly bool[] _taken;
    private ChainReader<TProbe> _reader;
    private ushort _nextAvailable;
    private ushort _knownAvailable;
    private ushort _usedIndex;
    private ushort _publishedIndex;
    private ushort _batchStart; // in order: answers from here on wait for one used entry
    private ulong _batchElement;

    public SplitDevice(SharedWindow window, RingGeometry geometry, VirtioRingOptions options)
    {
        _window = window;
        _options = options;
        _areas = new SplitAreas(window, geometry, options);
        _size = geometry.QueueSize;
        _usedEvent = (ushort*)(_areas.Available + SplitLayout.UsedEventOffset(_size));
        _status = new nint[_size];
        _taken = new bool[_size];
        _reader = new ChainReader<TProbe>(window, options, geometry);
        DisableKicks();
    }

    public override bool TryTake(DeviceRequest request)
    {
        if (_nextAvailable == _knownAvailable && !RefreshAvailable())
        {
            return false;
        }

        ushort head = Shared<TProbe>.Load((ushort*)(_areas.Available + SplitLayout.RingOffset) + (_nextAvailable & (_size - 1)));
        if (head >= _size || _taken[head])
        {
            throw Broken($"made descriptor {head} of {_size} available, which is none or taken");
        }

        _reader.Begin(request, head);
        ReadChain(head, request);
        _status[head] = (nint)_reader.Finish();
        _taken[head] = true;
        _nextAvailable++;
        return true;
    }

    public override void Complete(ushort tag, byte status, uint length)
    {
        ulong element = tag | ((ulong)length << 32);
        if (_options.EmbedStatus)
        {
            element |= (ulong)status << 16;
        }
        else
        {
            Shared<TProbe>.Store((byte*)_status[tag], status);
        }

        _taken[tag] = false;
        if (!_options.InOrder)
        {
            WriteUsed(_usedIndex, element);
        }
        else if (_batchStart != _usedIndex && StatusOf(element) != StatusOf(_batchElement))
        {
            EndBatch(); // an entry stands for requests of the same status only
        }

        _batchElement = element;
        _usedIndex++;
    }

    public override bool Publish()
    {
        ushort old = _publishedIndex;
        if (old == _usedIndex)
        {
            return false;
        }

        if (_options.InOrder)
        {
            EndBatch();
        }

        _publishedIndex = _usedIndex;
        Shared<TProbe>.Release((ushort*)(_areas.Used + SplitLayout.IndexOffset), _usedIndex);
        Shared<TProbe>.FullBarrier();
        return SplitLayout.NeedsEvent(Shared<TProbe>.Acquire(_usedEvent), _usedIndex, old);
    }

    public override bool EnableKicks()
    {
        WriteAvailableEvent(_nextAvailable);
        Shared<TProbe>.FullBarrier();
        return Shared<TProbe>.Acquire((ushort*)(_areas.Available + SplitLayout.IndexOffset)) == _nextAvailable;
    }

    public override void DisableKicks() => WriteAvailableEvent((ushort)(_nextAvailable - 1));

    private bool RefreshAvailable()
    {
        _knownAvailable = Shared<TProbe>.Acquire((ushort*)(_areas.Available + SplitLayout.IndexOffset));
        return (ushort)(_knownAvailable - _nextAvailable) <= _size
            ? _knownAvailable != _nextAvailable
            : throw Broken($"moved its available index from {_nextAvailable} to {_knownAvailable}, further than {_size} entries");
    }

    private void ReadChain(uint index, DeviceRequest request)
    {
        byte* table = _areas.Descriptors;
        int stride = _options.DescriptorStride;
        uint limit = (uint)_size;
        Descriptor descriptor = ReadHead(index, request);
        if ((descriptor.Flags & DescriptorFlags.Indirect) != 0)
        {
            limit = descriptor.Length / SplitLayout.DescriptorSize;
            table = _window.Find(descriptor.Address, descriptor.Length);
            if (!_options.Indirect || table == null || limit == 0 || (descriptor.Address & 7) != 0)
            {
                throw Broken($"sent an indirect table of {descriptor.Length} bytes at 0x{descriptor.Address:x}, which is misplaced");
            }

            stride = SplitLayout.DescriptorSize;
            descriptor = Shared<TProbe>.Load((Descriptor*)table);
        }

        for (int left = _reader.Limit; left > 0; left--)
        {
            if ((descriptor.Flags & DescriptorFlags.Indirect) != 0)
            {
                throw Broken("sent an indirect table within a chain");
            }

            bool isLast = (descriptor.Flags & DescriptorFlags.Next) == 0;
            _reader.Add(descriptor, isLast);
            if (isLast)
            {
                return;
            }

            descriptor = descriptor.Next < limit
                ? Shared<TProbe>.Load((Descriptor*)(table + ((long)descriptor.Next * stride)))
                : throw Broken($"named descriptor {descriptor.Next} of {limit} as the next of a chain");
        }

        throw Broken($"sent a chain of more than {_reader.Limit} descriptors, or a loop of them");
    }

    private Descriptor ReadHead(uint index, DeviceRequest request)
    {
        byte* entry = _areas.Descriptors + ((long)index * _options.DescriptorStride);
        if (!_options.EmbedHeader)
        {
            return Shared<TProbe>.Load((Descriptor*)entry);
        }

        EmbeddedDescriptor head = Shared<TProbe>.Load((EmbeddedDescriptor*)entry);
        request.Header = head.Header;
        return head.Descriptor;
    }

    private void EndBatch()
    {
        WriteUsed(_batchStart, _batchElement);
        _batchStart = _usedIndex;
    }

    private byte StatusOf(ulong element) => _options.EmbedStatus ? (byte)(element >> 16) : (byte)0;

    private void WriteUsed(ushort index, ulong element)
        => Shared<TProbe>.Store((ulong*)(_areas.Used + SplitLayout.RingOffset) + (index & (_size - 1)), element);

    private void WriteAvailableEvent(ushort index)
        => Shared<TProbe>.Release((ushort*)(_areas.Used + SplitLayout.AvailableEventOffset(_size)), index);

    private static ErrnoException Broken(string what) => new(Errno.EPROTO, $"The driver {what}");
}
