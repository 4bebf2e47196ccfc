using System.Buffers.Binary;
using System.Numerics;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>How a guest cluster is stored.</summary>
internal enum ClusterKind : byte
{
    /// <summary>Not in this image: the backing node decides.</summary>
    Unallocated,

    /// <summary>As <see cref="Unallocated"/>, with space kept for later writes; a subcluster beside others that are stored.</summary>
    Reserved,

    /// <summary>Zeroes, without space.</summary>
    Zero,

    /// <summary>Zeroes, with space kept for later writes.</summary>
    ZeroAllocated,

    /// <summary>Stored as is.</summary>
    Data,

    /// <summary>Stored compressed.</summary>
    Compressed,

    /// <summary>The tables say something impossible.</summary>
    Corrupt,
}

/// <summary>What the tables say of a guest range: one kind, and one run in the file if it is stored as is.</summary>
/// <param name="Kind">How it is stored.</param>
/// <param name="Length">Bytes that this holds for.</param>
/// <param name="HostOffset">Where the first byte lies; for data and what has space kept.</param>
/// <param name="IsCopied">True when no snapshot shares the clusters, so that they may be written in place.</param>
/// <param name="Entry">The L2 entry of the first cluster; its L1 entry if that is corrupt.</param>
internal readonly record struct Mapping(ClusterKind Kind, long Length, long HostOffset, bool IsCopied, ulong Entry)
{
    internal bool IsWritableInPlace => Kind == ClusterKind.Data && IsCopied;

    /// <summary>Whether a write keeps the place and changes a table entry only, after filling what the guest did not write.</summary>
    internal bool KeepsPlace => Kind is ClusterKind.ZeroAllocated or ClusterKind.Reserved && IsCopied;

    internal bool HasHost => Kind is ClusterKind.Data or ClusterKind.ZeroAllocated or ClusterKind.Reserved;
}

/// <summary>An entry of an L2 table.</summary>
/// <param name="Value">Flags, and the place of the cluster.</param>
/// <param name="Subclusters">With extended entries: which subclusters are stored (low half), which are zero (high half).</param>
internal readonly record struct L2Entry(ulong Value, ulong Subclusters)
{
    internal const ulong AllZero = 0xffffffffUL << 32;

    internal uint Stored => (uint)Subclusters;

    internal uint Zero => (uint)(Subclusters >> 32);

    /// <summary>The entry with some subclusters stored; others stay as they are.</summary>
    internal L2Entry WithStored(uint mask) => this with { Subclusters = (Subclusters | mask) & ~((ulong)mask << 32) };

    /// <summary>The entry with some subclusters zero; others stay as they are.</summary>
    internal L2Entry WithZero(uint mask) => this with { Subclusters = (Subclusters | ((ulong)mask << 32)) & ~(ulong)mask };
}

/// <summary>Guest offset to place in the file: the L1 table in memory, L2 tables through a cache. A hit needs no waiting and no memory.</summary>
internal sealed class ClusterMap(Qcow2Geometry geometry, HostFile file, TableCache tables, PagedTable l1)
{
    internal TableCache Tables => tables;

    /// <summary>Gives the cached tables' memory back.</summary>
    internal void Free()
    {
        Cleaner?.Stop();
        tables.Free();
    }

    /// <summary>Keeps the cache small, where it is this map's alone.</summary>
    internal CacheCleaner? Cleaner { get; init; }

    internal PagedTable L1 { get; set; } = l1;

    /// <summary>Classifies the cluster of an L2 entry; with extended entries, how its subclusters are stored is a matter of their bitmap.</summary>
    internal ClusterKind KindOf(ulong entry)
    {
        if ((entry & CompressedFlag) != 0)
        {
            return geometry.HasDataFile ? ClusterKind.Corrupt : ClusterKind.Compressed;
        }

        long offset = (long)(entry & OffsetMask);
        if ((entry & ZeroFlag) != 0 && !geometry.IsExtended)
        {
            return geometry.Version < 3 || geometry.InCluster(offset) != 0 ? ClusterKind.Corrupt
                : offset == 0 ? ClusterKind.Zero : ClusterKind.ZeroAllocated;
        }

        // The first cluster of a data file has offset 0 as well, and is told apart by its flag.
        return offset == 0 ? geometry.HasDataFile && (entry & CopiedFlag) != 0 ? ClusterKind.Data : ClusterKind.Unallocated
            : geometry.InCluster(offset) != 0 ? ClusterKind.Corrupt : ClusterKind.Data;
    }

    /// <summary>Maps a range as far as one statement holds for it and the cache knows.</summary>
    /// <param name="offset">Guest offset.</param>
    /// <param name="length">Bytes, at least 1.</param>
    /// <param name="mapping">The statement.</param>
    /// <returns>False when a table must be loaded first: <see cref="LoadAsync"/>.</returns>
    internal bool TryMap(long offset, long length, out Mapping mapping)
    {
        if (geometry.IsExtended)
        {
            return TryMapSubclusters(offset, length, out mapping);
        }

        if (!TryGetEntry(offset, out ulong entry, out long covered))
        {
            mapping = default;
            return false;
        }

        ClusterKind kind = entry == CorruptL1 ? ClusterKind.Corrupt : KindOf(entry);
        int inCluster = geometry.InCluster(offset);
        bool copied = (entry & CopiedFlag) != 0;
        bool hasHost = kind is ClusterKind.Data or ClusterKind.ZeroAllocated;
        long host = hasHost ? (long)(entry & OffsetMask) : 0;
        if (geometry.HasDataFile && hasHost && host + inCluster != offset)
        {
            kind = ClusterKind.Corrupt;
        }

        long mapped = covered;
        if (kind is not (ClusterKind.Compressed or ClusterKind.Corrupt))
        {
            while (mapped < length && TryGetEntry(offset + mapped, out ulong next, out covered) && next != CorruptL1)
            {
                // Neighbours in the guest must be neighbours in the file, with the same flags.
                bool joins = hasHost
                    ? next == entry + (ulong)(mapped + inCluster)
                    : KindOf(next) == kind;
                if (!joins)
                {
                    break;
                }

                mapped += covered;
            }
        }

        mapping = new Mapping(kind, Math.Min(mapped, length), hasHost ? host + inCluster : 0, copied, entry);
        return true;
    }

    /// <summary>Says what is wrong with a mapping, in QEMU's words.</summary>
    internal string DescribeCorruption(long offset, Mapping mapping, bool isForWriting)
    {
        int l1Index = (int)(offset >> geometry.L1Shift);
        long table = (long)(L1[l1Index] & OffsetMask);
        if (mapping.Entry == CorruptL1)
        {
            return $"L2 table offset {Hex(table)} unaligned (L1 index: {Hex(l1Index)})";
        }

        long host = (long)(mapping.Entry & OffsetMask);
        string place = $"L2 offset: {Hex(table)}, L2 index: {Hex(L2Index(offset))}";
        bool isZero = (mapping.Entry & ZeroFlag) != 0 && !geometry.IsExtended;
        return (mapping.Entry & CompressedFlag) != 0 ? $"Compressed cluster entry found in image with external data file ({place})"
            : isZero && geometry.Version < 3 ? $"Zero cluster entry found in pre-v3 image ({place})"
            : geometry.InCluster(host) != 0
                ? isForWriting ? $"{(isZero ? "Preallocated zero" : "Data")} cluster offset {Hex(host)} unaligned (guest offset: {Hex(offset)})"
                : $"Cluster allocation offset {Hex(host)} unaligned ({place})"
            : geometry.HasDataFile ? $"External data file host cluster offset {Hex(host)} does not match guest cluster offset: {Hex(geometry.AlignDown(offset))}, L2 index: {Hex(L2Index(offset))})"
            : $"Invalid cluster entry found {(isForWriting ? "" : " ")}({place})";
    }

    /// <summary>As printf's %#x: zero has no prefix.</summary>
    internal static string Hex(long value) => value == 0 ? "0" : $"0x{value:x}";

    /// <summary>Brings in the table piece that maps an offset.</summary>
    internal IoTask LoadAsync(long offset)
    {
        ulong l1Entry = L1[(int)(offset >> geometry.L1Shift)];
        long table = (long)(l1Entry & OffsetMask);
        return table == 0 || geometry.InCluster(table) != 0 ? IoTask.Completed : tables.LoadAsync(SliceOffset(table, offset));
    }

    /// <summary>A new table of zeroes was written: the piece that maps an offset need not be read.</summary>
    internal void AddClean(long table, long offset) => tables.AddClean(SliceOffset(table, offset));

    /// <summary>The piece of an existing L2 table that maps an offset, loaded.</summary>
    internal async IoTask<CachedTable> GetTableAsync(long offset)
    {
        while (true)
        {
            long table = (long)(L1[(int)(offset >> geometry.L1Shift)] & OffsetMask);
            if (table == 0 || geometry.InCluster(table) != 0)
            {
                throw new ErrnoException(Errno.EIO, $"Image '{file.FileName}': no valid L2 table for guest offset {offset}");
            }

            if (tables.Find(SliceOffset(table, offset)) is { } loaded)
            {
                return loaded;
            }

            await tables.LoadAsync(SliceOffset(table, offset));
        }
    }

    /// <summary>Reads an entry of a loaded piece.</summary>
    internal L2Entry GetEntry(CachedTable table, long offset)
    {
        ReadOnlySpan<byte> entry = table.Bytes[InSlice(offset)..];
        return new L2Entry(BinaryPrimitives.ReadUInt64BigEndian(entry), geometry.IsExtended ? BinaryPrimitives.ReadUInt64BigEndian(entry[8..]) : 0);
    }

    /// <summary>Changes an entry of a loaded piece.</summary>
    internal void SetEntry(CachedTable table, long offset, L2Entry entry)
    {
        Span<byte> bytes = tables.Change(table)[InSlice(offset)..];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, entry.Value);
        if (geometry.IsExtended)
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes[8..], entry.Subclusters);
        }
    }

    /// <summary>Guest bytes that one cached piece maps.</summary>
    internal long SliceCoverage => (long)tables.SliceLength >> geometry.L2EntryBits << geometry.ClusterBits;

    /// <summary>Which subclusters of the cluster at an offset a range covers whole.</summary>
    internal uint MaskOf(long cluster, long first, long last)
    {
        int from = (int)((Math.Max(first, cluster) - cluster) >> geometry.SubclusterBits);
        int to = (int)((Math.Min(last, cluster + geometry.ClusterLength) - cluster) >> geometry.SubclusterBits);
        return (uint)((1UL << to) - (1UL << from));
    }

    /// <summary>Classifies a subcluster of an extended entry, and counts how many from it on are of the same kind.</summary>
    internal ClusterKind KindOf(L2Entry entry, int index, out int count)
    {
        ClusterKind cluster = KindOf(entry.Value);
        bool isStandard = cluster is ClusterKind.Data or ClusterKind.Unallocated;
        bool isContradiction = (entry.Stored & (cluster == ClusterKind.Unallocated ? uint.MaxValue : entry.Zero)) != 0;
        if (!isStandard || isContradiction)
        {
            count = Qcow2Geometry.SubclusterCount - index;
            return isStandard ? ClusterKind.Corrupt : cluster;
        }

        bool hasHost = cluster == ClusterKind.Data;
        uint bit = 1u << index;
        (ClusterKind kind, uint same) = (entry.Zero & bit) != 0 ? (hasHost ? ClusterKind.ZeroAllocated : ClusterKind.Zero, entry.Zero)
            : (entry.Stored & bit) != 0 ? (ClusterKind.Data, entry.Stored)
            : (hasHost ? ClusterKind.Reserved : ClusterKind.Unallocated, ~(entry.Zero | entry.Stored));
        count = Math.Min(BitOperations.TrailingZeroCount(~(same >> index)), Qcow2Geometry.SubclusterCount - index);
        return kind;
    }

    private bool TryMapSubclusters(long offset, long length, out Mapping mapping)
    {
        if (!TryMapInCluster(offset, out mapping))
        {
            return false;
        }

        // A run of one kind goes on in the next cluster only from the end of this one.
        long mapped = mapping.Length;
        bool canJoin = mapping.Kind is not (ClusterKind.Compressed or ClusterKind.Corrupt);
        while (canJoin && mapped < length && geometry.InCluster(offset + mapped) == 0 && TryMapInCluster(offset + mapped, out Mapping next))
        {
            bool joins = next.Kind == mapping.Kind && (!mapping.HasHost || (next.HostOffset == mapping.HostOffset + mapped && next.IsCopied == mapping.IsCopied));
            if (!joins)
            {
                break;
            }

            mapped += next.Length;
        }

        mapping = mapping with { Length = Math.Min(mapped, length) };
        return true;
    }

    private bool TryMapInCluster(long offset, out Mapping mapping)
    {
        mapping = default;
        if (!TryGetEntry(offset, out ulong value, out long covered))
        {
            return false;
        }

        int inCluster = geometry.InCluster(offset);
        int index = inCluster >> geometry.SubclusterBits;
        ulong subclusters = 0;
        if (value == CorruptL1 || !TryGetSubclusters(offset, out subclusters))
        {
            mapping = new Mapping(value == CorruptL1 ? ClusterKind.Corrupt : ClusterKind.Unallocated, covered, 0, false, value);
            return true;
        }

        ClusterKind kind = KindOf(new L2Entry(value, subclusters), index, out int count);
        bool hasHost = kind is ClusterKind.Data or ClusterKind.ZeroAllocated or ClusterKind.Reserved;
        long host = hasHost ? (long)(value & OffsetMask) + inCluster : 0;
        if (geometry.HasDataFile && hasHost && host != offset)
        {
            kind = ClusterKind.Corrupt;
        }

        long length = ((index + (long)count) << geometry.SubclusterBits) - inCluster;
        mapping = new Mapping(kind, length, host, (value & CopiedFlag) != 0, value);
        return true;
    }

    // False where there is no table.
    private bool TryGetSubclusters(long offset, out ulong subclusters)
    {
        int index = (int)(offset >> geometry.L1Shift);
        long table = index < L1.Count ? (long)(L1[index] & OffsetMask) : 0;
        subclusters = 0;
        if (table == 0 || tables.Find(SliceOffset(table, offset)) is not { } loaded)
        {
            return false;
        }

        subclusters = BinaryPrimitives.ReadUInt64BigEndian(loaded.Bytes[(InSlice(offset) + 8)..]);
        return true;
    }

    // No L2 entry has this value: both the compressed flag and what excludes it.
    private const ulong CorruptL1 = ulong.MaxValue;

    private bool TryGetEntry(long offset, out ulong entry, out long covered)
    {
        long index = offset >> geometry.L1Shift;
        long table = index < L1.Count ? (long)(L1[(int)index] & OffsetMask) : 0;
        covered = geometry.ClusterLength - geometry.InCluster(offset);
        if (table == 0)
        {
            entry = 0;
            covered = ((index + 1) << geometry.L1Shift) - offset;
            return true;
        }

        if (geometry.InCluster(table) != 0)
        {
            entry = CorruptL1;
            return true;
        }

        if (tables.Find(SliceOffset(table, offset)) is not { } loaded)
        {
            entry = 0;
            return false;
        }

        entry = BinaryPrimitives.ReadUInt64BigEndian(loaded.Bytes[InSlice(offset)..]);
        return true;
    }

    private int L2Index(long offset) => (int)(offset >> geometry.ClusterBits) & ((1 << geometry.L2Bits) - 1);

    private long SliceOffset(long table, long offset) => table + (((long)L2Index(offset) << geometry.L2EntryBits) & -(long)tables.SliceLength);

    private int InSlice(long offset) => (L2Index(offset) << geometry.L2EntryBits) & (tables.SliceLength - 1);
}
