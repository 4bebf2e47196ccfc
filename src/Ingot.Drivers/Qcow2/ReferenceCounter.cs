using System.Buffers.Binary;
using Ingot.Io;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Walks everything in an image that names clusters, and counts who is named how often. Reads table by table, so memory goes to the counts only.</summary>
internal sealed class ReferenceCounter(Qcow2Image image, Qcow2CheckResult result, Action<string> report)
{
    private const int MaxBitmapDirectory = 64 << 20;

    private readonly Qcow2Geometry _geometry = image.Geometry;
    private long _nextContiguous;
    private long _entriesSeen;

    internal ReferenceMap References { get; } = new(bytes => UntrustedImage.LimitTable(image.Flags, image.File.FileName, "count of references", bytes));

    /// <summary>The end of what is named behind the end of the file; 0 for nothing.</summary>
    internal long MissingEnd { get; private set; }

    /// <summary>True when the caller will give up space that lies where none can.</summary>
    internal bool RepairsEntries { get; init; }

    /// <summary>Where in the file the entries lie that name such space.</summary>
    internal List<long> Misplaced { get; } = [];

    /// <summary>Counts all but refcount table and blocks.</summary>
    internal async IoTask CountAsync()
    {
        Qcow2Header header = image.Header.Current;
        Count(0, _geometry.ClusterLength);
        await CountL1Async(header.L1Offset, header.L1Entries, isActive: true);
        Count(header.SnapshotsOffset, image.Snapshots.Length);
        foreach (Snapshot snapshot in image.Snapshots.Snapshots)
        {
            string name = $"ERROR snapshot {snapshot.Info.Id} ({snapshot.Info.Name})";
            if (!snapshot.IsTableAligned(_geometry))
            {
                Corrupt($"{name} l1_offset=0x{snapshot.L1Offset:x}: L1 table is not cluster aligned; snapshot table entry corrupted");
            }
            else if (snapshot.IsTableTooLarge)
            {
                Corrupt($"{name} l1_size=0x{snapshot.L1Entries:x}: L1 table is too large; snapshot table entry corrupted");
            }
            else
            {
                await CountL1Async(snapshot.L1Offset, (int)snapshot.L1Entries, isActive: false);
            }
        }

        if (header.LuksArea is { } luks)
        {
            Count(luks.Offset, luks.Length);
        }

        if ((header.Autoclear & AutoclearBitmaps) != 0
            && header.Extensions.FirstOrDefault(e => e.Type == ExtensionBitmaps) is { Data.Length: >= 24 } bitmaps)
        {
            await CountBitmapsAsync(bitmaps.Data);
        }
    }

    /// <summary>Counts the clusters of a range of the file.</summary>
    /// <returns>False, and an error, when the range does not lie in the file.</returns>
    internal bool Count(long offset, long length)
    {
        if (length <= 0)
        {
            return true;
        }

        // The last cluster may be cut off where nothing was written to its end.
        if (offset > MaxHostOffset || offset + length - image.File.Length >= _geometry.ClusterLength)
        {
            MissingEnd = offset > MaxHostOffset ? long.MaxValue : Math.Max(MissingEnd, offset + length);
            Corrupt($"ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x{offset:x} size 0x{length:x}");
            return false;
        }

        long last = _geometry.ClusterOf(offset + length - 1);
        for (long cluster = _geometry.ClusterOf(offset); cluster <= last; cluster++)
        {
            if (!References.TryAdd(cluster, _geometry.MaxRefcount))
            {
                Corrupt($"ERROR: overflow cluster offset=0x{cluster << _geometry.ClusterBits:x}\n"
                    + "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing");
            }
        }

        return true;
    }

    internal void Corrupt(string what)
    {
        result.Corruptions++;
        report(what);
    }

    private async IoTask CountL1Async(long offset, int entries, bool isActive)
    {
        if (entries == 0 || !Count(offset, entries * 8L))
        {
            return;
        }

        LimitEntries(entries);
        byte[] l1 = await image.File.ReadBytesAsync(offset, entries * 8);
        using var table = new IoBuffer(_geometry.ClusterLength);
        for (int index = 0; index < entries; index++)
        {
            ulong entry = BinaryPrimitives.ReadUInt64BigEndian(l1.AsSpan(index * 8));
            long l2 = (long)(entry & OffsetMask);
            if (l2 == 0)
            {
                continue;
            }

            if (_geometry.InCluster(l2) != 0)
            {
                Corrupt($"ERROR l2_offset={l2:x}: Table is not cluster aligned; L1 entry corrupted");
                continue;
            }

            if (Count(l2, _geometry.ClusterLength))
            {
                await CountL2Async(l2, table, isActive);
            }
        }
    }

    private void LimitEntries(long more)
    {
        _entriesSeen += more;
        UntrustedTables.LimitEntries(image.Flags, image.File.FileName, _entriesSeen);
    }

    private async IoTask CountL2Async(long offset, IoBuffer table, bool isActive)
    {
        LimitEntries(_geometry.ClusterLength >> _geometry.L2EntryBits);
        try
        {
            await image.File.ReadAsync(offset, table.Vector);
        }
        catch (IOException e)
        {
            result.CheckErrors++;
            report($"ERROR: I/O error in check_refcounts_l2: {e.Message}");
            return;
        }

        _nextContiguous = 0; // as qemu-img counts: within one table
        ReadOnlySpan<byte> bytes = table.Span;
        for (int i = 0; i < bytes.Length; i += 1 << _geometry.L2EntryBits)
        {
            ulong entry = BinaryPrimitives.ReadUInt64BigEndian(bytes[i..]);
            if (entry != 0 && _geometry.InCluster((long)(entry & OffsetMask)) != 0 && (entry & CompressedFlag) == 0 && !IsData(bytes, i))
            {
                NoteMisplacedSpace(entry, offset + i);
            }
            else if (entry != 0)
            {
                CountEntry(entry, isActive);
            }
        }
    }

    private bool IsData(ReadOnlySpan<byte> table, int at)
        => _geometry.IsExtended
            ? (uint)BinaryPrimitives.ReadUInt64BigEndian(table[(at + 8)..]) != 0
            : (BinaryPrimitives.ReadUInt64BigEndian(table[at..]) & ZeroFlag) == 0;

    // Nothing is stored there, so nothing is lost by giving the place up.
    private void NoteMisplacedSpace(ulong entry, long place)
    {
        string what = $"offset={entry & OffsetMask:x}: Preallocated cluster is not properly aligned; L2 entry corrupted.";
        if (RepairsEntries)
        {
            result.CorruptionsFixed++;
            report($"Repairing {what}");
            Misplaced.Add(place);
        }
        else
        {
            Corrupt($"ERROR {what}");
        }
    }

    private void CountEntry(ulong entry, bool isActive)
    {
        long host = (long)(entry & OffsetMask);
        switch (image.Map.KindOf(entry))
        {
            case ClusterKind.Compressed:
                long packed = _geometry.CompressedOffset(entry);
                if ((entry & CopiedFlag) != 0)
                {
                    Corrupt($"ERROR: coffset=0x{packed:x}: copied flag must never be set for compressed clusters");
                }

                Count(packed, _geometry.CompressedLength(entry));
                if (isActive)
                {
                    result.AllocatedClusters++;
                    result.CompressedClusters++;
                    result.FragmentedClusters++;
                }

                break;
            case ClusterKind.Data or ClusterKind.ZeroAllocated:
                if (!_geometry.HasDataFile)
                {
                    Count(host, _geometry.ClusterLength);
                }

                if (isActive)
                {
                    result.AllocatedClusters++;
                    result.FragmentedClusters += _nextContiguous != 0 && host != _nextContiguous ? 1 : 0;
                    _nextContiguous = host + _geometry.ClusterLength;
                }

                break;
            case ClusterKind.Corrupt:
                Corrupt($"ERROR offset={host:x}: Data cluster is not properly aligned; L2 entry corrupted.");
                if (!_geometry.HasDataFile && (entry & CompressedFlag) == 0)
                {
                    Count(host, _geometry.ClusterLength);
                }

                break;
        }
    }

    private async IoTask CountBitmapsAsync(byte[] extension)
    {
        uint count = BinaryPrimitives.ReadUInt32BigEndian(extension);
        ulong length = BinaryPrimitives.ReadUInt64BigEndian(extension.AsSpan(8));
        ulong offset = BinaryPrimitives.ReadUInt64BigEndian(extension.AsSpan(16));
        if (length > MaxBitmapDirectory || offset > MaxHostOffset || !Count((long)offset, (long)length))
        {
            Corrupt($"ERROR: bitmap directory of {length} bytes at 0x{offset:x} is invalid");
            return;
        }

        byte[] directory = await image.File.ReadBytesAsync((long)offset, (int)length);
        for (int at = 0; count > 0 && at + 24 <= directory.Length; count--)
        {
            ulong tableOffset = BinaryPrimitives.ReadUInt64BigEndian(directory.AsSpan(at));
            uint tableEntries = BinaryPrimitives.ReadUInt32BigEndian(directory.AsSpan(at + 8));
            int nameLength = BinaryPrimitives.ReadUInt16BigEndian(directory.AsSpan(at + 18));
            uint extraLength = BinaryPrimitives.ReadUInt32BigEndian(directory.AsSpan(at + 20));
            await CountBitmapAsync(tableOffset, tableEntries);
            long next = at + ((24L + extraLength + nameLength + 7) & ~7L);
            at = (int)Math.Min(next, directory.Length);
        }
    }

    private async IoTask CountBitmapAsync(ulong offset, uint entries)
    {
        if (offset > MaxHostOffset || entries > MaxBitmapDirectory / 8 || !Count((long)offset, entries * 8L))
        {
            Corrupt($"ERROR: bitmap table of {entries} entries at 0x{offset:x} is invalid");
            return;
        }

        byte[] table = await image.File.ReadBytesAsync((long)offset, (int)entries * 8);
        for (int i = 0; i < table.Length; i += 8)
        {
            long data = (long)(BinaryPrimitives.ReadUInt64BigEndian(table.AsSpan(i)) & OffsetMask);
            if (data != 0)
            {
                Count(data, _geometry.ClusterLength);
            }
        }
    }
}
