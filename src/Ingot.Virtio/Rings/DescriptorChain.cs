using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Virtio.Rings;

/// <summary>
/// One request of the driver as buffers: what the device reads, then what it writes. Reused from request to request; its vectors are valid until the
/// chain is filled again, which is after it was pushed back as used.
/// </summary>
public sealed unsafe class DescriptorChain : IDisposable
{
    /// <summary>The most segments of a chain (that is what QEMU and IOV_MAX allow as well).</summary>
    public const int MaxSegments = 1024;

    private const int FirstCapacity = 16;
    private Libc.iovec* _segments;
    private int _capacity;
    private int _readableCount;
    private int _writableCount;
    private long _readableLength;
    private long _writableLength;
    private bool _isEmbedded;
    private ulong _headerLow;
    private ulong _headerHigh;

    /// <summary>An empty chain.</summary>
    public DescriptorChain()
    {
        _capacity = FirstCapacity;
        _segments = (Libc.iovec*)NativeMemory.Alloc(FirstCapacity, (nuint)sizeof(Libc.iovec));
    }

    /// <summary>Frees the segments.</summary>
    ~DescriptorChain() => NativeMemory.Free(_segments);

    /// <summary>The name of the chain: its first descriptor in a split ring, its buffer id in a packed one.</summary>
    public ushort Head { get; private set; }

    /// <summary>Entries of a packed ring that the chain takes.</summary>
    internal int Entries { get; private set; }

    /// <summary>What in-flight notes of a packed ring call the chain.</summary>
    internal int Node { get; private set; }

    /// <summary>The status of a request whose header came in its descriptor: it goes into the used entry.</summary>
    internal byte EmbeddedStatus { get; private set; }

    /// <summary>Whether there is a place for a status.</summary>
    internal bool CanBeAnswered => _isEmbedded || _writableLength > 0;

    /// <summary>Bytes for the device to read.</summary>
    public long ReadableLength => _readableLength;

    /// <summary>Bytes for the device to write.</summary>
    public long WritableLength => _writableLength;

    /// <summary>What the device reads.</summary>
    public IoVector Readable => new(_segments, _readableCount, _readableLength);

    /// <summary>What the device writes.</summary>
    public IoVector Writable => new(_segments + _readableCount, _writableCount, _writableLength);

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.Free(_segments);
        _segments = null;
        GC.SuppressFinalize(this);
    }

    /// <summary>Sets the status of a block request: the last byte for the device to write, unless it is embedded. <see cref="CanBeAnswered"/> was asked before.</summary>
    /// <param name="value">The byte.</param>
    internal void WriteStatus(byte value)
    {
        if (_isEmbedded)
        {
            EmbeddedStatus = value;
            return;
        }

        // SAFETY: segments are within mapped guest memory and never empty.
        Libc.iovec* last = _segments + _readableCount + _writableCount - 1;
        ((byte*)last->iov_base)[last->iov_len - 1] = value;
    }

    /// <summary>Copies the header, once: the guest may change it meanwhile. It is embedded, or the first 16 bytes for the device to read.</summary>
    /// <param name="low">The first 8.</param>
    /// <param name="high">The next 8.</param>
    /// <returns>False when there are fewer.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryReadHeader(out ulong low, out ulong high)
    {
        if (_isEmbedded)
        {
            (low, high) = (_headerLow, _headerHigh);
            return true;
        }

        if (_readableCount > 0 && _segments->iov_len >= 16)
        {
            low = Unsafe.ReadUnaligned<ulong>(_segments->iov_base);
            high = Unsafe.ReadUnaligned<ulong>((byte*)_segments->iov_base + 8);
            return true;
        }

        return TryReadSplitHeader(out low, out high);
    }

    /// <summary>What the device reads beside the header.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal IoVector ReadableData() => _isEmbedded
        ? Readable
        : _readableCount > 0 && _segments->iov_len == 16
            ? new IoVector(_segments + 1, _readableCount - 1, _readableLength - 16)
            : Readable.Slice(16);

    /// <summary>What the device writes beside the status.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal IoVector WritableData()
    {
        if (_isEmbedded)
        {
            return Writable;
        }

        Libc.iovec* first = _segments + _readableCount;
        return first[_writableCount - 1].iov_len == 1
            ? new IoVector(first, _writableCount - 1, _writableLength - 1)
            : Writable.Slice(0, _writableLength - 1);
    }

    /// <summary>Empties the chain for a new request.</summary>
    internal void Begin(ushort head)
    {
        Head = head;
        _readableCount = 0;
        _writableCount = 0;
        _readableLength = 0;
        _writableLength = 0;
        _isEmbedded = false;
    }

    /// <summary>Takes over a header that came in the first descriptor.</summary>
    internal void Embed(ulong low, ulong high)
    {
        _isEmbedded = true;
        _headerLow = low;
        _headerHigh = high;
    }

    /// <summary>Names the chain: a packed ring tells its name last.</summary>
    /// <param name="id">The buffer id.</param>
    /// <param name="entries">Entries of the ring that it takes.</param>
    /// <param name="node">What in-flight notes call it.</param>
    internal void Name(ushort id, int entries, int node)
    {
        Head = id;
        Entries = entries;
        Node = node;
    }

    /// <summary>Adds a segment that is not empty; all readable ones come first. False when there are too many.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryAdd(byte* start, ulong length, bool writable)
    {
        int count = _readableCount + _writableCount;
        if (count == _capacity && !TryGrow())
        {
            return false;
        }

        _segments[count].iov_base = start;
        _segments[count].iov_len = (nuint)length;
        if (writable)
        {
            _writableCount++;
            _writableLength += (long)length;
        }
        else
        {
            _readableCount++;
            _readableLength += (long)length;
        }

        return true;
    }

    /// <summary>True once a writable segment was added.</summary>
    internal bool HasWritable => _writableCount > 0;

    private bool TryReadSplitHeader(out ulong low, out ulong high)
    {
        low = high = 0;
        if (_readableLength < 16)
        {
            return false;
        }

        Span<ulong> words = stackalloc ulong[2];
        Readable.CopyTo(MemoryMarshal.AsBytes(words));
        (low, high) = (words[0], words[1]);
        return true;
    }

    private bool TryGrow()
    {
        if (_capacity >= MaxSegments)
        {
            return false;
        }

        _capacity = Math.Min(_capacity * 4, MaxSegments);
        _segments = (Libc.iovec*)NativeMemory.Realloc(_segments, (nuint)(_capacity * sizeof(Libc.iovec)));
        return true;
    }
}
