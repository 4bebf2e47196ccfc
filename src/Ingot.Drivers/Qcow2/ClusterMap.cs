using System.Buffers.Binary;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>How a guest cluster is stored.</summary>
internal enum ClusterKind : byte
{
    /// <summary>Not in this image: the backing node decides.</summary>
    Unallocated,

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
/// <param name="HostOffset">Where the first byte lies; for data and allocated zeroes.</param>
/// <param name="IsCopied">True when no snapshot shares the clusters, so that they may be written in place.</param>
/// <param name="Entry">The L2 entry of the first cluster; its L1 entry if that is corrupt.</param>
internal readonly record struct Mapping(ClusterKind Kind, long Length, long HostOffset, bool IsCopied, ulong Entry)
{
    internal bool IsWritableInPlace => Kind == ClusterKind.Data && IsCopied;
}

/// <summary>Guest offset to place in the file: the L1 table in memory, L2 tables through a cache. A hit needs no waiting and no memory.</summary>
internal sealed class ClusterMap(Qcow2Geometry geometry, HostFile file, TableCache tables, PagedTable l1)
{
    internal TableCache Tables => tables;

    internal PagedTable L1 { get; set; } = l1;

    /// <summary>Classifies an L2 entry.</summary>
    internal ClusterKind KindOf(ulong entry)
    {
        if ((entry & CompressedFlag) != 0)
        {
            return ClusterKind.Compressed;
        }

        long offset = (long)(entry & OffsetMask);
        if ((entry & ZeroFlag) != 0)
        {
            return geometry.Version < 3 || geometry.InCluster(offset) != 0 ? ClusterKind.Corrupt
                : offset == 0 ? ClusterKind.Zero : ClusterKind.ZeroAllocated;
        }

        return offset == 0 ? ClusterKind.Unallocated
            : geometry.InCluster(offset) != 0 ? ClusterKind.Corrupt : ClusterKind.Data;
    }

    /// <summary>Maps a range as far as one statement holds for it and the cache knows.</summary>
    /// <param name="offset">Guest offset.</param>
    /// <param name="length">Bytes, at least 1.</param>
    /// <param name="mapping">The statement.</param>
    /// <returns>False when a table must be loaded first: <see cref="LoadAsync"/>.</returns>
    internal bool TryMap(long offset, long length, out Mapping mapping)
    {
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

    /// <summary>Brings in the table piece that maps an offset.</summary>
    internal IoTask LoadAsync(long offset)
    {
        ulong l1Entry = L1[(int)(offset >> geometry.L1Shift)];
        long table = (long)(l1Entry & OffsetMask);
        return table == 0 || geometry.InCluster(table) != 0 ? IoTask.Completed : tables.LoadAsync(SliceOffset(table, offset));
    }

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
    internal ulong GetEntry(CachedTable table, long offset) => BinaryPrimitives.ReadUInt64BigEndian(table.Bytes[InSlice(offset)..]);

    /// <summary>Changes an entry of a loaded piece.</summary>
    internal void SetEntry(CachedTable table, long offset, ulong entry)
        => BinaryPrimitives.WriteUInt64BigEndian(tables.Change(table)[InSlice(offset)..], entry);

    /// <summary>Guest bytes that one cached piece maps.</summary>
    internal long SliceCoverage => (long)geometry.SliceLength / 8 << geometry.ClusterBits;

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

    private long SliceOffset(long table, long offset) => table + (L2Index(offset) * 8L & -(long)geometry.SliceLength);

    private int InSlice(long offset) => (L2Index(offset) * 8) & (geometry.SliceLength - 1);
}
