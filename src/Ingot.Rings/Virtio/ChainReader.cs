using Ingot.Linux;
using Ingot.Rings.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Rings.Virtio;

/// <summary>Turns the descriptors of a request, as a device finds them, into the request. They are copies already.</summary>
internal unsafe struct ChainReader<TProbe>(SharedWindow window, VirtioRingOptions options, RingGeometry geometry)
    where TProbe : struct, IMemoryProbe
{
    private DeviceRequest _request = new(0);
    private byte* _status;
    private bool _headerSeen;
    private bool _writableSeen;

    /// <summary>The most descriptors that a request may have.</summary>
    public readonly int Limit => geometry.MaxSegments + options.Overhead;

    public void Begin(DeviceRequest request, ushort tag)
    {
        _request = request;
        _status = null;
        _headerSeen = options.EmbedHeader;
        _writableSeen = false;
        request.Begin(tag);
    }

    /// <summary>Takes the next descriptor in.</summary>
    /// <param name="descriptor">Its flags beside <see cref="DescriptorFlags.Write"/> don't matter.</param>
    /// <param name="isLast">True for the last of the chain.</param>
    public void Add(in Descriptor descriptor, bool isLast)
    {
        byte* start = window.Find(descriptor.Address, descriptor.Length);
        bool writable = (descriptor.Flags & DescriptorFlags.Write) != 0;
        if (start == null || (_writableSeen && !writable))
        {
            throw Broken($"its buffer of {descriptor.Length} bytes at 0x{descriptor.Address:x} is outside of the memory, or out of order");
        }

        _writableSeen |= writable;
        if (!_headerSeen)
        {
            ReadHeader(start, descriptor, writable);
        }
        else if (isLast && !options.EmbedStatus)
        {
            _status = writable && descriptor.Length == 1 ? start : throw Broken("its last buffer is not a status byte");
        }
        else if (!_request.TryAdd(new Segment(descriptor.Address, descriptor.Length)))
        {
            throw Broken($"it has more than {geometry.MaxSegments} segments");
        }
    }

    /// <summary>Ends the request.</summary>
    /// <returns>Where its status goes; null when it goes into the used entry.</returns>
    public readonly byte* Finish()
        => _headerSeen && (options.EmbedStatus || _status != null) && _request.Count > 0
            ? _status
            : throw Broken("it has no header, no data or no status");

    private void ReadHeader(byte* start, in Descriptor descriptor, bool writable)
    {
        if (writable || descriptor.Length != RequestHeader.Size)
        {
            throw Broken($"its first buffer of {descriptor.Length} bytes is not a header");
        }

        _request.Header = Shared<TProbe>.Load((RequestHeader*)start);
        _headerSeen = true;
    }

    private readonly ErrnoException Broken(string why) => new(Errno.EPROTO, $"The driver's request {_request.Tag} is broken: {why}");
}
