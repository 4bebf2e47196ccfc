using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>One persistent dirty bitmap: its entry of the directory, and its content once that was read.</summary>
internal sealed class BitmapEntry
{
    internal const uint InUse = 1;
    internal const uint Auto = 2;
    internal const int FixedLength = 24;
    private const int FlagsField = 12;
    internal const int MaxDirectory = 65535 * 1088;
    internal const int MaxTableEntries = 0x8000000;
    internal const int MinGranularityBits = 9;
    internal const int MaxGranularityBits = 31;
    internal const int MaxNameLength = 1023;

    internal required string Name { get; init; }

    internal required int GranularityBits { get; init; }

    internal long TableOffset { get; set; }

    internal int TableEntries { get; set; }

    internal uint Flags { get; set; }

    /// <summary>Where the entry lies in the directory in the file; null when it is not there.</summary>
    internal int? DirectoryOffset { get; private set; }

    internal byte[] Extra { get; init; } = [];

    /// <summary>The content; null while nobody needs it.</summary>
    internal DirtyBitmap? Content { get; set; }

    /// <summary>True when whoever changed the image last did not store the bitmap, or when it is of a kind that is not known here.</summary>
    internal bool IsInconsistent { get; init; }

    /// <summary>Whether changes of the disk are recorded.</summary>
    internal bool IsEnabled => (Flags & Auto) != 0 && !IsInconsistent;

    /// <summary>Reads the directory of an image; empty when there is none, or when nothing vouches for it.</summary>
    internal static async IoTask<List<BitmapEntry>> ReadAllAsync(HostFile file, Qcow2Header header, OpenFlags flags)
    {
        var entries = new List<BitmapEntry>();
        if ((header.Autoclear & AutoclearBitmaps) == 0 || header.Extensions.FirstOrDefault(e => e.Type == ExtensionBitmaps) is not { } extension)
        {
            return entries;
        }

        if (extension.Data.Length != 24)
        {
            throw new ImageFormatException($"Image '{file.FileName}': bitmaps_ext: Invalid extension length {extension.Data.Length}");
        }

        uint count = BinaryPrimitives.ReadUInt32BigEndian(extension.Data);
        ulong length = BinaryPrimitives.ReadUInt64BigEndian(extension.Data.AsSpan(8));
        ulong offset = BinaryPrimitives.ReadUInt64BigEndian(extension.Data.AsSpan(16));
        if (length > MaxDirectory || offset > MaxHostOffset || header.Geometry.InCluster((long)offset) != 0 || count > length / FixedLength)
        {
            throw new ImageFormatException($"Image '{file.FileName}': bitmaps_ext: invalid bitmap directory ({count} bitmaps, {length} bytes at {offset})");
        }

        UntrustedImage.LimitTable(flags, file.FileName, "bitmap directory", (long)length);
        byte[] directory = await file.ReadBytesAsync((long)offset, (int)length);
        int at = 0;
        for (uint i = 0; i < count; i++)
        {
            entries.Add(Parse(file, header, directory, ref at));
        }

        return entries;
    }

    /// <summary>Says, here and in the directory of the file, that what is stored is out of date.</summary>
    internal void MarkInUse(Span<byte> directory)
    {
        Flags |= InUse;
        BinaryPrimitives.WriteUInt32BigEndian(directory[(DirectoryOffset!.Value + FlagsField)..], Flags);
    }

    /// <summary>The directory as it goes to the file.</summary>
    internal static byte[] Encode(IEnumerable<BitmapEntry> entries)
    {
        var directory = new MemoryStream();
        foreach (BitmapEntry entry in entries)
        {
            byte[] name = NativeText.Encode(entry.Name);
            var bytes = new byte[(FixedLength + entry.Extra.Length + name.Length + 7) & ~7];
            BinaryPrimitives.WriteUInt64BigEndian(bytes, (ulong)entry.TableOffset);
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(8), (uint)entry.TableEntries);
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(12), entry.Flags);
            bytes[16] = 1;
            bytes[17] = (byte)entry.GranularityBits;
            BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(18), (ushort)name.Length);
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(20), (uint)entry.Extra.Length);
            entry.Extra.CopyTo(bytes, FixedLength);
            name.CopyTo(bytes, FixedLength + entry.Extra.Length);
            entry.DirectoryOffset = (int)directory.Length;
            directory.Write(bytes);
        }

        return directory.ToArray();
    }

    private static BitmapEntry Parse(HostFile file, Qcow2Header header, byte[] directory, ref int at)
    {
        if (at + FixedLength > directory.Length)
        {
            throw new ImageFormatException($"Image '{file.FileName}': the bitmap directory ends within an entry");
        }

        ReadOnlySpan<byte> entry = directory.AsSpan(at);
        ulong table = BinaryPrimitives.ReadUInt64BigEndian(entry);
        uint tableEntries = BinaryPrimitives.ReadUInt32BigEndian(entry[8..]);
        uint flags = BinaryPrimitives.ReadUInt32BigEndian(entry[12..]);
        int bits = entry[17];
        int nameLength = BinaryPrimitives.ReadUInt16BigEndian(entry[18..]);
        uint extraLength = BinaryPrimitives.ReadUInt32BigEndian(entry[20..]);
        long end = FixedLength + (long)extraLength + nameLength;
        bool isValid = end <= entry.Length && table <= MaxHostOffset && header.Geometry.InCluster((long)table) == 0 && tableEntries <= MaxTableEntries
            && entry[16] == 1 && bits is >= MinGranularityBits and <= MaxGranularityBits && nameLength is > 0 and <= MaxNameLength;
        if (!isValid)
        {
            throw new ImageFormatException($"Image '{file.FileName}': entry at {at} of the bitmap directory is invalid");
        }

        int start = at;
        at += (int)Math.Min(directory.Length - at, (end + 7) & ~7L);
        return new BitmapEntry
        {
            DirectoryOffset = start,
            Name = NativeText.Decode(entry.Slice(FixedLength + (int)extraLength, nameLength)),
            GranularityBits = bits,
            TableOffset = (long)table,
            TableEntries = (int)tableEntries,
            Flags = flags,
            Extra = entry.Slice(FixedLength, (int)extraLength).ToArray(),
            IsInconsistent = (flags & InUse) != 0 || (flags & ~(InUse | Auto)) != 0 || extraLength != 0,
        };
    }
}
