namespace Ingot.Drivers.Qcow2;

/// <summary>What follows from the header fields that never change while an image is open: sizes of clusters, subclusters and table entries.</summary>
internal sealed class Qcow2Geometry(int version, int clusterBits, int refcountOrder, bool isExtended = false, bool hasDataFile = false)
{
    /// <summary>Subclusters of a cluster when L2 entries are extended.</summary>
    internal const int SubclusterCount = 32;

    // Tables are cached in pieces: a miss on a big cluster then costs one small read, and memory goes to what is used.
    private const int MaxSliceLength = 4096;

    internal int Version => version;

    internal int ClusterBits => clusterBits;

    internal int RefcountOrder => refcountOrder;

    internal int ClusterLength { get; } = 1 << clusterBits;

    internal int SliceLength { get; } = Math.Min(1 << clusterBits, MaxSliceLength);

    /// <summary>True when each L2 entry has a bitmap that tells how its subclusters are stored.</summary>
    internal bool IsExtended => isExtended;

    /// <summary>True when guest data lies in a file of its own, each cluster at its guest offset.</summary>
    internal bool HasDataFile => hasDataFile;

    /// <summary>The unit that is allocated and zeroed: a cluster, or a part of it when L2 entries are extended.</summary>
    internal int SubclusterBits { get; } = isExtended ? clusterBits - 5 : clusterBits;

    internal int SubclusterLength => 1 << SubclusterBits;

    /// <summary>Bytes of an L2 entry, as a shift.</summary>
    internal int L2EntryBits { get; } = isExtended ? 4 : 3;

    /// <summary>Entries of an L2 table, as a shift.</summary>
    internal int L2Bits { get; } = clusterBits - (isExtended ? 4 : 3);

    /// <summary>Guest bytes that one L2 table maps, as a shift.</summary>
    internal int L1Shift { get; } = clusterBits + clusterBits - (isExtended ? 4 : 3);

    /// <summary>Refcounts of a block, as a shift.</summary>
    internal int RefcountBlockBits { get; } = clusterBits + 3 - refcountOrder;

    internal ulong MaxRefcount { get; } = refcountOrder == 6 ? ulong.MaxValue : (1UL << (1 << refcountOrder)) - 1;

    // The offset of a compressed cluster takes the low bits of its entry, the count of its further sectors the bits above.
    internal int CompressedOffsetBits { get; } = 62 - (clusterBits - 8);

    internal long AlignDown(long offset) => offset & -(long)ClusterLength;

    internal long AlignUp(long offset) => (offset + ClusterLength - 1) & -(long)ClusterLength;

    internal long AlignDownToSubcluster(long offset) => offset & -(long)SubclusterLength;

    internal long AlignUpToSubcluster(long offset) => (offset + SubclusterLength - 1) & -(long)SubclusterLength;

    internal long ClusterOf(long offset) => offset >> clusterBits;

    internal int InCluster(long offset) => (int)offset & (ClusterLength - 1);

    /// <summary>Clusters that hold a number of bytes.</summary>
    internal long ClustersFor(long bytes) => (bytes + ClusterLength - 1) >> clusterBits;

    /// <summary>L1 entries that a virtual size needs.</summary>
    internal long L1EntriesFor(long size) => size == 0 ? 0 : ((size - 1) >> L1Shift) + 1;

    internal long CompressedOffset(ulong entry) => (long)(entry & ((1UL << CompressedOffsetBits) - 1));

    /// <summary>Bytes of the file that a compressed cluster may take, counted from its offset to the end of its last sector.</summary>
    internal int CompressedLength(ulong entry)
    {
        int sectors = (int)((entry >> CompressedOffsetBits) & ((1UL << (clusterBits - 8)) - 1)) + 1;
        return (sectors * Qcow2Constants.CompressedSectorLength) - (int)(CompressedOffset(entry) & (Qcow2Constants.CompressedSectorLength - 1));
    }

    internal ulong CompressedEntry(long offset, int length)
    {
        long sectors = ((offset + length - 1) / Qcow2Constants.CompressedSectorLength) - (offset / Qcow2Constants.CompressedSectorLength);
        return Qcow2Constants.CompressedFlag | ((ulong)sectors << CompressedOffsetBits) | (ulong)offset;
    }
}
