using System.Buffers.Binary;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Reference counts of the file's clusters: the refcount table in memory, its blocks through a cache. Clusters are given by their number in the file.</summary>
internal sealed class RefcountTable(Qcow2Geometry geometry, TableCache blocks, PagedTable table)
{
    private readonly int _sliceBits = System.Numerics.BitOperations.Log2((uint)geometry.SliceLength) + 3 - geometry.RefcountOrder;

    internal TableCache Blocks => blocks;

    internal PagedTable Table { get; set; } = table;

    /// <summary>Makes the exception for an entry of the table that can't be one; told what is wrong.</summary>
    internal required Func<string, IoTask<ErrnoException>> Corrupt { get; init; }

    /// <summary>The block that counts a cluster; 0 without one, which means that the cluster is free. Where no block can be, only <see cref="LoadAsync"/> says so.</summary>
    internal long BlockOf(long cluster)
    {
        long index = cluster >> geometry.RefcountBlockBits;
        return index < Table.Count ? (long)(Table[(int)index] & OffsetMask) : 0;
    }

    /// <summary>Reads a count that needs no loading.</summary>
    internal bool TryGet(long cluster, out ulong count)
    {
        count = 0;
        long block = BlockOf(cluster);
        if (block == 0)
        {
            return true;
        }

        if (geometry.InCluster(block) != 0 || blocks.Find(SliceOffset(block, cluster)) is not { } slice)
        {
            return false;
        }

        count = ReadCount(slice.Bytes, InSlice(cluster), geometry.RefcountOrder);
        return true;
    }

    internal async IoTask<ulong> GetAsync(long cluster)
    {
        ulong count;
        while (!TryGet(cluster, out count))
        {
            await LoadAsync(cluster);
        }

        return count;
    }

    /// <summary>Changes the count of a cluster that has a block.</summary>
    internal async IoTask SetAsync(long cluster, ulong count)
    {
        while (!TrySet(cluster, count))
        {
            await LoadAsync(cluster);
        }
    }

    internal bool TrySet(long cluster, ulong count)
    {
        long block = BlockOf(cluster);
        if (geometry.InCluster(block) != 0 || blocks.Find(SliceOffset(block, cluster)) is not { } slice)
        {
            return false;
        }

        WriteCount(blocks.Change(slice), InSlice(cluster), geometry.RefcountOrder, count);
        return true;
    }

    /// <summary>Changes the count of a cluster whose block is in memory, or new and known to hold zeroes.</summary>
    internal void SetInNewBlock(long cluster, ulong count)
    {
        if (!TrySet(cluster, count))
        {
            blocks.AddZeroed(SliceOffset(BlockOf(cluster), cluster));
            TrySet(cluster, count);
        }
    }

    internal IoTask LoadAsync(long cluster)
        => BlockOf(cluster) is var block && geometry.InCluster(block) != 0 ? RefuseAsync(cluster, block) : blocks.LoadAsync(SliceOffset(block, cluster));

    private async IoTask RefuseAsync(long cluster, long block)
        => throw await Corrupt($"Refblock offset {ClusterMap.Hex(block)} unaligned (reftable index: {ClusterMap.Hex(cluster >> geometry.RefcountBlockBits)})");

    /// <summary>Reads an entry; entries below a byte fill it from its low bits.</summary>
    internal static ulong ReadCount(ReadOnlySpan<byte> block, int index, int order) => order switch
    {
        < 3 => (ulong)((block[index >> (3 - order)] >> ((index << order) & 7)) & ((1 << (1 << order)) - 1)),
        3 => block[index],
        4 => BinaryPrimitives.ReadUInt16BigEndian(block[(index * 2)..]),
        5 => BinaryPrimitives.ReadUInt32BigEndian(block[(index * 4)..]),
        _ => BinaryPrimitives.ReadUInt64BigEndian(block[(index * 8)..]),
    };

    /// <summary>Writes an entry.</summary>
    internal static void WriteCount(Span<byte> block, int index, int order, ulong count)
    {
        switch (order)
        {
            case < 3:
                int shift = (index << order) & 7;
                int mask = ((1 << (1 << order)) - 1) << shift;
                ref byte cell = ref block[index >> (3 - order)];
                cell = (byte)((cell & ~mask) | ((int)count << shift));
                break;
            case 3:
                block[index] = (byte)count;
                break;
            case 4:
                BinaryPrimitives.WriteUInt16BigEndian(block[(index * 2)..], (ushort)count);
                break;
            case 5:
                BinaryPrimitives.WriteUInt32BigEndian(block[(index * 4)..], (uint)count);
                break;
            default:
                BinaryPrimitives.WriteUInt64BigEndian(block[(index * 8)..], count);
                break;
        }
    }

    private long SliceOffset(long block, long cluster)
        => block + (((cluster >> _sliceBits) & ((1L << (geometry.RefcountBlockBits - _sliceBits)) - 1)) * geometry.SliceLength);

    private int InSlice(long cluster) => (int)(cluster & ((1L << _sliceBits) - 1));
}
