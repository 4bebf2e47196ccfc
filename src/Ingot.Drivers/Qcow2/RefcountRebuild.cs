using System.Buffers.Binary;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Writes a new refcount table and new blocks behind everything that is in use, then points the header to them. The old ones stay untouched until then,
/// so a crash half way leaves what was there before.
/// </summary>
internal sealed class RefcountRebuild(Qcow2Image image, ReferenceMap references)
{
    private readonly Qcow2Geometry _geometry = image.Geometry;

    /// <summary>Rebuilds.</summary>
    /// <returns>Where the image ends then.</returns>
    internal async IoTask<long> RunAsync()
    {
        long first = Math.Max(references.End, _geometry.ClustersFor(image.File.Length));
        (long blocks, long tableClusters) = Plan(first);
        if (tableClusters << _geometry.ClusterBits > Math.Max(MaxRefcountTableBytes, _geometry.ClusterLength))
        {
            throw new ErrnoException(Errno.EFBIG, $"Image '{image.File.FileName}': a refcount table for {first} clusters is too large");
        }

        for (long cluster = first; cluster < first + blocks + tableClusters; cluster++)
        {
            references.Add(cluster);
        }

        await WriteBlocksAsync(first, blocks);
        await WriteTableAsync(first, blocks, tableClusters);
        await image.File.FlushAsync();
        await SwitchAsync((first + blocks) << _geometry.ClusterBits, (int)tableClusters);
        return (first + blocks + tableClusters) << _geometry.ClusterBits;
    }

    private (long Blocks, long TableClusters) Plan(long first)
    {
        long blocks = 0;
        long table = 0;
        while (true)
        {
            long needed = ((first + blocks + table - 1) >> _geometry.RefcountBlockBits) + 1;
            long neededTable = _geometry.ClustersFor(needed * 8);
            if (needed == blocks && neededTable == table)
            {
                return (blocks, table);
            }

            blocks = needed;
            table = neededTable;
        }
    }

    private async IoTask WriteBlocksAsync(long first, long blocks)
    {
        var block = new byte[_geometry.ClusterLength];
        for (long index = 0; index < blocks; index++)
        {
            Array.Clear(block);
            long start = index << _geometry.RefcountBlockBits;
            for (int i = 0; i < 1 << _geometry.RefcountBlockBits; i++)
            {
                ulong count = references[start + i];
                if (count > _geometry.MaxRefcount)
                {
                    throw new ErrnoException(Errno.ERANGE, $"Image '{image.File.FileName}': cluster {start + i} has {count} references, more than its refcounts can hold");
                }

                if (count != 0)
                {
                    RefcountTable.WriteCount(block, i, _geometry.RefcountOrder, count);
                }
            }

            await image.File.WriteBytesAsync((first + index) << _geometry.ClusterBits, block);
        }
    }

    private IoTask WriteTableAsync(long first, long blocks, long tableClusters)
    {
        var table = new byte[tableClusters << _geometry.ClusterBits];
        for (int index = 0; index < blocks; index++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan(index * 8), (ulong)((first + index) << _geometry.ClusterBits));
        }

        return image.File.WriteBytesAsync((first + blocks) << _geometry.ClusterBits, table);
    }

    private async IoTask SwitchAsync(long tableOffset, int tableClusters)
    {
        image.Header.MoveRefcountTable(tableOffset, tableClusters);
        await image.File.WriteBytesAsync(RefcountTableField, image.Header.TakeRefcountTable()!);
        await image.File.FlushAsync();
        image.Refcounts.Blocks.Clear();
        image.Refcounts.Table = await PagedTable.ReadAsync(image.File, tableOffset, (tableClusters << _geometry.ClusterBits) / 8);
    }
}
