using System.Runtime.CompilerServices;
using Ingot.Rings.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Rings.Virtio;

/// <summary>The descriptors of a request in their order: header, data, status, as far as they are buffers of their own.</summary>
internal readonly ref struct RequestPieces
{
    private readonly ReadOnlySpan<Segment> _segments;
    private readonly ulong _request;
    private readonly int _first;
    private readonly DescriptorFlags _dataFlags;

    public RequestPieces(VirtioRingOptions options, ulong request, uint type, ReadOnlySpan<Segment> segments)
    {
        _segments = segments;
        _request = request;
        _first = options.EmbedHeader ? 0 : 1;
        _dataFlags = type == RequestHeader.Read ? DescriptorFlags.Write : DescriptorFlags.None;
        Count = segments.Length + options.Overhead;
    }

    public int Count { get; }

    /// <summary>A descriptor that says nothing yet of the next one.</summary>
    public Descriptor this[int index]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            int data = index - _first;
            if (data < 0)
            {
                return new Descriptor { Address = _request, Length = RequestHeader.Size };
            }

            return data < _segments.Length
                ? new Descriptor { Address = _segments[data].Address, Length = _segments[data].Length, Flags = _dataFlags }
                : new Descriptor { Address = _request + RequestBlock.StatusOffset, Length = 1, Flags = DescriptorFlags.Write };
        }
    }
}

/// <summary>Where a request's header and status are when they are buffers: one cache line a token, as Linux's struct virtblk_req has them side by side.</summary>
internal static unsafe class RequestBlock
{
    public const int Size = 64;
    public const int StatusOffset = RequestHeader.Size;

    // What no device answers: a status that was not written is noticed.
    private const byte NoStatus = 0xff;

    /// <summary>Fills in what the device reads.</summary>
    public static void Write<TProbe>(byte* block, in RequestHeader header, VirtioRingOptions options)
        where TProbe : struct, IMemoryProbe
    {
        if (!options.EmbedHeader)
        {
            Shared<TProbe>.Store((RequestHeader*)block, header);
        }

        if (!options.EmbedStatus)
        {
            Shared<TProbe>.Store(block + StatusOffset, NoStatus);
        }
    }
}
