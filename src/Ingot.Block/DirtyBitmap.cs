using System.Buffers.Binary;
using System.Numerics;

namespace Ingot.Block;

/// <summary>Which parts of a disk were changed, a bit for each unit of a power of two of bytes. Not thread-safe: owned by a loop.</summary>
public sealed class DirtyBitmap
{
    private const int WordBits = 64;

    private ulong[] _words;

    /// <summary>A clean bitmap.</summary>
    /// <param name="length">Bytes of the disk.</param>
    /// <param name="granularityBits">Bytes that a bit stands for, as a power of two.</param>
    public DirtyBitmap(long length, int granularityBits)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        GranularityBits = granularityBits;
        Length = length;
        _words = new ulong[WordsFor(length)];
    }

    /// <summary>Bytes that a bit stands for, as a power of two.</summary>
    public int GranularityBits { get; }

    /// <summary>Bytes that a bit stands for.</summary>
    public long Granularity => 1L << GranularityBits;

    /// <summary>Bytes of the disk.</summary>
    public long Length { get; private set; }

    /// <summary>Bytes of the bitmap when it is stored.</summary>
    public long StoredLength => (BitsFor(Length) + 7) / 8;

    /// <summary>Marks every unit that a range touches. What lies behind the end is ignored.</summary>
    /// <param name="offset">Where the range begins.</param>
    /// <param name="length">Its length.</param>
    public void Set(long offset, long length)
    {
        length = Math.Min(length, Length - offset);
        if (length > 0)
        {
            Fill(offset >> GranularityBits, ((offset + length - 1) >> GranularityBits) + 1, true);
        }
    }

    /// <summary>Makes every unit clean that lies in a range whole; the last one of the disk may be cut off.</summary>
    /// <param name="offset">Where the range begins.</param>
    /// <param name="length">Its length.</param>
    public void Reset(long offset, long length)
    {
        length = Math.Min(length, Length - offset);
        long first = (offset + Granularity - 1) >> GranularityBits;
        long end = length > 0 && offset + length == Length ? BitsFor(Length) : (offset + length) >> GranularityBits;
        if (first < end)
        {
            Fill(first, end, false);
        }
    }

    /// <summary>Makes everything clean.</summary>
    public void Clear() => Array.Clear(_words);

    /// <summary>Whether a byte lies in a dirty unit.</summary>
    /// <param name="offset">The byte.</param>
    /// <returns>True when it is dirty.</returns>
    public bool IsDirty(long offset)
    {
        long bit = offset >> GranularityBits;
        return (_words[bit / WordBits] & (1UL << (int)(bit % WordBits))) != 0;
    }

    /// <summary>Bytes in dirty units.</summary>
    /// <returns>The count.</returns>
    public long CountDirty()
    {
        long bits = 0;
        foreach (ulong word in _words)
        {
            bits += BitOperations.PopCount(word);
        }

        long tail = (BitsFor(Length) << GranularityBits) - Length;
        return (bits << GranularityBits) - (tail > 0 && IsDirty(Length - 1) ? tail : 0);
    }

    /// <summary>Finds the next dirty range.</summary>
    /// <param name="from">Where to begin.</param>
    /// <param name="offset">Where it begins.</param>
    /// <param name="length">Its length.</param>
    /// <returns>False when nothing from there on is dirty.</returns>
    public bool TryFindDirty(long from, out long offset, out long length)
    {
        long first = from < Length ? NextBit(from >> GranularityBits, true) : -1;
        if (first < 0)
        {
            (offset, length) = (Length, 0);
            return false;
        }

        long next = NextBit(first, false);
        offset = Math.Max(from, first << GranularityBits);
        length = (next < 0 ? Length : Math.Min(Length, next << GranularityBits)) - offset;
        return true;
    }

    /// <summary>Adds what is dirty in another bitmap, whose granularity may differ.</summary>
    /// <param name="other">The bitmap.</param>
    public void Merge(DirtyBitmap other)
    {
        for (long at = 0; other.TryFindDirty(at, out long offset, out long length); at = offset + length)
        {
            Set(offset, length);
        }
    }

    /// <summary>Follows a disk that changes its size; what is new is clean.</summary>
    /// <param name="length">The new size.</param>
    public void Resize(long length)
    {
        Array.Resize(ref _words, (int)WordsFor(length));
        long end = BitsFor(length);
        Length = length;
        if (end % WordBits != 0)
        {
            _words[^1] &= (1UL << (int)(end % WordBits)) - 1;
        }
    }

    /// <summary>Writes a part of the bitmap as bytes, the lowest bit first.</summary>
    /// <param name="offset">Where the part begins, a multiple of 8.</param>
    /// <param name="bytes">Gets the bytes, zeroes behind the end.</param>
    public void Save(long offset, Span<byte> bytes)
    {
        for (int i = 0; i < bytes.Length; i += 8)
        {
            long word = (offset + i) / 8;
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[i..], word < _words.Length ? _words[word] : 0);
        }
    }

    /// <summary>Reads a part of the bitmap.</summary>
    /// <param name="offset">Where the part begins, a multiple of 8.</param>
    /// <param name="bytes">The bytes; what is behind the end is ignored.</param>
    public void Load(long offset, ReadOnlySpan<byte> bytes)
    {
        for (int i = 0; i < bytes.Length && (offset + i) / 8 < _words.Length; i += 8)
        {
            _words[(offset + i) / 8] = BinaryPrimitives.ReadUInt64LittleEndian(bytes[i..]);
        }

        Resize(Length);
    }

    private static long DivideUp(long value, int bits) => (value >> bits) + ((value & ((1L << bits) - 1)) != 0 ? 1 : 0);

    private long BitsFor(long length) => DivideUp(length, GranularityBits);

    private long WordsFor(long length) => (BitsFor(length) + WordBits - 1) / WordBits;

    private void Fill(long first, long end, bool value)
    {
        for (long bit = first; bit < end;)
        {
            int low = (int)(bit % WordBits);
            int count = (int)Math.Min(WordBits - low, end - bit);
            ulong mask = (count == WordBits ? ulong.MaxValue : (1UL << count) - 1) << low;
            ref ulong word = ref _words[bit / WordBits];
            word = value ? word | mask : word & ~mask;
            bit += count;
        }
    }

    // The next bit of a value; -1 without one.
    private long NextBit(long from, bool value)
    {
        long end = BitsFor(Length);
        ulong flip = value ? 0 : ulong.MaxValue;
        for (long index = from / WordBits; index < _words.Length; index++)
        {
            ulong word = _words[index] ^ flip;
            word &= index == from / WordBits ? ulong.MaxValue << (int)(from % WordBits) : ulong.MaxValue;
            if (word != 0)
            {
                long bit = (index * WordBits) + BitOperations.TrailingZeroCount(word);
                return bit < end ? bit : -1;
            }
        }

        return -1;
    }
}
