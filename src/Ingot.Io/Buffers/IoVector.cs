using System.Runtime.CompilerServices;
using Ingot.Linux;

namespace Ingot.Io;

/// <summary>
/// A view of scattered unmanaged bytes: one range, or an array of iovec with a start and a length of its own, so that slicing copies nothing.
/// Does not own what it points to: buffers belong to the caller until the task that was given the vector completes.
/// </summary>
public readonly unsafe struct IoVector
{
    private readonly nint _pointer; // the bytes when _count is 1, else the iovec array
    private readonly int _count;
    private readonly long _skip; // bytes of the first entry that lie before the view; 0 when _count is 1
    private readonly long _length;

    /// <summary>A view of one range.</summary>
    /// <param name="bytes">Its start.</param>
    /// <param name="length">Its length in bytes.</param>
    public IoVector(void* bytes, long length)
    {
        _pointer = (nint)bytes;
        _count = 1;
        _length = length;
    }

    /// <summary>A view of all entries of an iovec array.</summary>
    /// <param name="entries">The array; stays alive and unchanged as long as the view is used.</param>
    /// <param name="count">Its number of entries.</param>
    /// <param name="length">The sum of their lengths in bytes.</param>
    public IoVector(Libc.iovec* entries, int count, long length)
    {
        if (count == 1)
        {
            _pointer = (nint)entries->iov_base;
        }
        else
        {
            _pointer = (nint)entries;
        }

        _count = count;
        _length = length;
    }

    private IoVector(nint pointer, int count, long skip, long length)
    {
        _pointer = pointer;
        _count = count;
        _skip = skip;
        _length = length;
    }

    /// <summary>Bytes in the view.</summary>
    public long Length => _length;

    /// <summary>True when the view is one range.</summary>
    public bool IsSingle => _count == 1;

    /// <summary>Entries that the view may touch.</summary>
    public int SegmentCount => _count;

    /// <summary>The first byte of a view that is one range.</summary>
    internal byte* SinglePointer => (byte*)_pointer;

    /// <summary>The bytes of a view that is one range; check <see cref="IsSingle"/> before. At most 2 GiB.</summary>
    public Span<byte> SingleSpan => _count == 1 ? new Span<byte>((void*)_pointer, checked((int)_length)) : throw new InvalidOperationException("The vector has more than one segment.");

    /// <summary>A part of the view.</summary>
    /// <param name="offset">First byte, relative to this view.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The part; shares the memory.</returns>
    public IoVector Slice(long offset, long length)
    {
        if ((ulong)offset > (ulong)_length || (ulong)length > (ulong)(_length - offset))
        {
            ThrowRange(offset, length);
        }

        return _count == 1 ? new IoVector((void*)(_pointer + (nint)offset), length) : SliceMany(offset, length);
    }

    /// <summary>The view from an offset to its end.</summary>
    /// <param name="offset">First byte, relative to this view.</param>
    /// <returns>The part; shares the memory.</returns>
    public IoVector Slice(long offset) => Slice(offset, _length - offset);

    /// <summary>Copies the first bytes of the view out.</summary>
    /// <param name="destination">Filled whole; not longer than the view.</param>
    public void CopyTo(Span<byte> destination)
    {
        Segments segments = Slice(0, destination.Length).GetEnumerator();
        while (segments.MoveNext())
        {
            segments.Current.CopyTo(destination);
            destination = destination[segments.Current.Length..];
        }
    }

    /// <summary>Copies bytes into the start of the view.</summary>
    /// <param name="source">Not longer than the view.</param>
    public void CopyFrom(ReadOnlySpan<byte> source)
    {
        Segments segments = Slice(0, source.Length).GetEnumerator();
        while (segments.MoveNext())
        {
            source[..segments.Current.Length].CopyTo(segments.Current);
            source = source[segments.Current.Length..];
        }
    }

    /// <summary>Copies bytes of another vector into the start of this one.</summary>
    /// <param name="source">Not longer than this view; must not overlap it.</param>
    public void CopyFrom(IoVector source)
    {
        long done = 0;
        foreach (Span<byte> part in source)
        {
            Slice(done, part.Length).CopyFrom(part);
            done += part.Length;
        }
    }

    /// <summary>Sets every byte to zero.</summary>
    public void Clear() => Fill(0);

    /// <summary>Sets every byte to a value.</summary>
    /// <param name="value">The value.</param>
    public void Fill(byte value)
    {
        foreach (Span<byte> part in this)
        {
            part.Fill(value);
        }
    }

    /// <summary>True when every byte is zero.</summary>
    /// <returns>True when every byte is zero.</returns>
    public bool IsZero()
    {
        foreach (Span<byte> part in this)
        {
            if (part.ContainsAnyExcept((byte)0))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Whether addresses and lengths of all segments are multiples of an alignment (a power of two), as O_DIRECT wants.</summary>
    /// <param name="alignment">Bytes.</param>
    /// <returns>True when all are.</returns>
    public bool IsAligned(int alignment)
    {
        long mask = alignment - 1;
        if (_count == 1)
        {
            return ((_pointer | _length) & mask) == 0;
        }

        foreach (Span<byte> part in this)
        {
            // SAFETY: the span's memory is unmanaged, so its address is stable.
            if ((((long)(nint)Unsafe.AsPointer(ref part[0]) | (uint)part.Length) & mask) != 0)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Goes through the segments in order; empty ones are left out.</summary>
    /// <returns>The enumerator.</returns>
    public Segments GetEnumerator() => new(this);

    /// <summary>Writes the exact segments as an iovec array.</summary>
    /// <param name="destination">Room for <see cref="SegmentCount"/> entries.</param>
    /// <returns>Entries written.</returns>
    internal int CopySegments(Libc.iovec* destination)
    {
        int n = 0;
        foreach (Span<byte> part in this)
        {
            // SAFETY: the span's memory is unmanaged, so its address is stable; the caller sized the array by SegmentCount.
            destination[n].iov_base = Unsafe.AsPointer(ref part[0]);
            destination[n++].iov_len = (nuint)part.Length;
        }

        return n;
    }

    private IoVector SliceMany(long offset, long length)
    {
        var entry = (Libc.iovec*)_pointer;
        long skip = _skip + offset;
        int left = _count;
        while (left > 1 && skip >= (long)entry->iov_len)
        {
            skip -= (long)entry->iov_len;
            entry++;
            left--;
        }

        if (length <= (long)entry->iov_len - skip)
        {
            return new IoVector((byte*)entry->iov_base + skip, length);
        }

        int count = 1;
        for (long covered = (long)entry->iov_len - skip; covered < length; count++)
        {
            covered += (long)entry[count].iov_len;
        }

        return new IoVector((nint)entry, count, skip, length);
    }

    private void ThrowRange(long offset, long length)
        => throw new ArgumentOutOfRangeException(nameof(offset), $"Slice {offset}+{length} of a vector of {_length} bytes.");

    /// <summary>Enumerator over the segments of a vector.</summary>
    public ref struct Segments
    {
        private const int MaxSpan = 1 << 30;
        private readonly nint _pointer;
        private readonly bool _single;
        private int _index;
        private long _skip;
        private long _left;

        internal Segments(IoVector vector)
        {
            _pointer = vector._pointer;
            _single = vector._count == 1;
            _skip = vector._skip;
            _left = vector._length;
        }

        /// <summary>The bytes of the current segment; a segment over 1 GiB comes in several pieces.</summary>
        public Span<byte> Current { get; private set; }

        /// <summary>Goes to the next segment.</summary>
        /// <returns>False at the end.</returns>
        public bool MoveNext()
        {
            while (_left > 0)
            {
                byte* start;
                long available;
                if (_single)
                {
                    start = (byte*)_pointer + _skip;
                    available = _left;
                }
                else
                {
                    Libc.iovec* entry = (Libc.iovec*)_pointer + _index;
                    start = (byte*)entry->iov_base + _skip;
                    available = (long)entry->iov_len - _skip;
                    if (available <= 0)
                    {
                        _skip = 0;
                        _index++;
                        continue;
                    }
                }

                int length = (int)Math.Min(Math.Min(available, _left), MaxSpan);
                Current = new Span<byte>(start, length);
                _left -= length;
                _skip += length;
                return true;
            }

            return false;
        }
    }
}
