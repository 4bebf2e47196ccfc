using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Ingot.Testing;

/// <summary>
/// What a disk's user wrote when: for each sector every content that it was given, so that after a power cut one can say which contents are right. A
/// content is a number, its tag: 0 for zeroes, and otherwise a pattern that no other write and no other sector has.
/// </summary>
public sealed class SectorHistory
{
    /// <summary>Bytes in a sector.</summary>
    public const int SectorLength = 512;

    private readonly List<Version>[] _sectors;
    private readonly List<(int Issued, int Completed, long Length)> _lengths = [];
    private readonly List<(int Issued, int Completed)> _flushes = [];

    /// <summary>Starts with a disk whose content is durable.</summary>
    /// <param name="length">Its length in bytes.</param>
    /// <param name="maxLength">The most it will ever have.</param>
    /// <param name="initial">The tag of each sector.</param>
    public SectorHistory(long length, long maxLength, Func<int, ulong> initial)
    {
        _sectors = new List<Version>[maxLength / SectorLength];
        for (int sector = 0; sector < _sectors.Length; sector++)
        {
            _sectors[sector] = [new Version(sector < length / SectorLength ? initial(sector) : 0, 0, 0, false)];
        }

        _lengths.Add((0, 0, length));
    }

    /// <summary>Fills a sector with the pattern of a tag. Even tags pack well, odd ones don't.</summary>
    /// <param name="sector">512 bytes.</param>
    /// <param name="tag">The tag.</param>
    public static void Fill(Span<byte> sector, ulong tag)
    {
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(sector);
        words.Fill(tag);
        for (int i = 1; i < words.Length && (tag & 1) != 0; i++)
        {
            ulong next = words[i - 1] * 0x9e3779b97f4a7c15;
            words[i] = next ^ (next >> 29);
        }
    }

    /// <summary>The tag of a write to a sector.</summary>
    /// <param name="write">The write's number, from 1.</param>
    /// <param name="sector">The sector.</param>
    /// <returns>The tag.</returns>
    public static ulong Tag(int write, int sector) => ((ulong)(uint)write << 32) | ((ulong)(uint)sector << 1) | (uint)(write & 1);

    /// <summary>Adds a content for sectors: for a write that is issued now. Say with <see cref="Complete"/> when it has completed.</summary>
    /// <param name="first">The first sector.</param>
    /// <param name="tags">A tag for each.</param>
    /// <param name="issued">When it was issued.</param>
    /// <param name="isDurable">True when it is durable once it has completed.</param>
    public void Write(int first, ReadOnlySpan<ulong> tags, int issued, bool isDurable = false)
    {
        for (int i = 0; i < tags.Length; i++)
        {
            _sectors[first + i].Add(new Version(tags[i], issued, int.MaxValue, isDurable));
        }
    }

    /// <summary>The last content of sectors has been written.</summary>
    /// <param name="first">The first sector.</param>
    /// <param name="count">How many.</param>
    /// <param name="completed">When.</param>
    public void Complete(int first, int count, int completed)
    {
        for (int i = first; i < first + count; i++)
        {
            _sectors[i][^1] = _sectors[i][^1] with { Completed = completed };
        }
    }

    /// <summary>A flush has completed.</summary>
    /// <param name="issued">When it was issued.</param>
    /// <param name="completed">When it had completed.</param>
    public void Flush(int issued, int completed) => _flushes.Add((issued, completed));

    /// <summary>The size was changed, durably when that had completed.</summary>
    /// <param name="length">The new one in bytes.</param>
    /// <param name="issued">When it was issued.</param>
    /// <param name="completed">When it had completed.</param>
    public void Resize(long length, int issued, int completed) => _lengths.Add((issued, completed, length));

    /// <summary>Compares what a disk holds after a power cut.</summary>
    /// <param name="content">All of it.</param>
    /// <param name="moment">When the power went.</param>
    /// <returns>What is wrong, or null.</returns>
    public string? Compare(ReadOnlySpan<byte> content, int moment)
    {
        int length = content.Length;
        int lastLength = _lengths.FindLastIndex(l => l.Completed <= moment);
        if (!_lengths.Skip(lastLength).TakeWhile(l => l.Issued <= moment).Any(l => l.Length == length))
        {
            return $"the size is {length}";
        }

        int durable = _flushes.Where(f => f.Completed <= moment).Select(f => f.Issued).DefaultIfEmpty(0).Max();
        for (int sector = 0; sector < length / SectorLength; sector++)
        {
            ReadOnlySpan<byte> bytes = content.Slice(sector * SectorLength, SectorLength);
            List<Version> versions = _sectors[sector];
            int first = versions.FindLastIndex(v => v.Completed <= (v.IsDurable ? moment : durable));
            bool isRight = false;
            for (int i = Math.Max(first, 0); i < versions.Count && versions[i].Issued <= moment && !isRight; i++)
            {
                isRight = Holds(bytes, versions[i].Tag);
            }

            if (!isRight)
            {
                string right = string.Join(", ", versions.Skip(first).TakeWhile(v => v.Issued <= moment).Select(v => Describe(v.Tag)));
                return $"sector {sector} holds {Describe(bytes)}, not {right}";
            }
        }

        return null;
    }

    private static bool Holds(ReadOnlySpan<byte> sector, ulong tag)
    {
        if (BinaryPrimitives.ReadUInt64LittleEndian(sector) != tag)
        {
            return false;
        }

        Span<byte> expected = stackalloc byte[SectorLength];
        Fill(expected, tag);
        return sector.SequenceEqual(expected);
    }

    private static string Describe(ReadOnlySpan<byte> sector)
    {
        ulong tag = BinaryPrimitives.ReadUInt64LittleEndian(sector);
        return Holds(sector, tag) ? Describe(tag) : $"no write ({Convert.ToHexString(sector[..16])}...)";
    }

    private static string Describe(ulong tag) => tag == 0 ? "zeroes" : $"write {tag >> 32} of sector {(uint)tag >> 1}";

    private readonly record struct Version(ulong Tag, int Issued, int Completed, bool IsDurable);
}
