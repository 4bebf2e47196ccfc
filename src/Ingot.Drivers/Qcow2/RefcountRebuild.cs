using System.Buffers.Binary;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Writes a new refcount table and new blocks behind everything that is in use, then points the header to them. The old ones stay untouched until then,
/// so a crash half way leaves what was there before.
/// </summary>
/// <param name="image">The image.</param>
/// <param name="references">The counts to write; those of the new table and blocks are added.</param>
/// <param name="geometry">That of the image, or one with another refcount width.</param>
internal sealed class RefcountRebuild(Qcow2Image image, ReferenceMap references, Qcow2Geometry geometry)
{
    private readonly Qcow2Geometry _geometry = geometry;

    /// <summary>Rebuilds.</summary>
    /// <returns>Where the image ends then.</returns>
    internal async IoTask<long> RunAsync()
    {
        (long tableOffset, int tableClusters) = await WriteAsync(null);
        await SwitchAsync(tableOffset, tableClusters);
        return tableOffset + ((long)tableClusters << _geometry.ClusterBits);
    }

    /// <summary>Writes table and blocks, durably; the header does not name them yet.</summary>
    /// <param name="progress">Told how many blocks of how many are written.</param>
    /// <returns>Where the table lies, and its clusters.</returns>
    internal async IoTask<(long Offset, int Clusters)> WriteAsync(Action<long, long>? progress)
    {
        long first = Math.Max(references.End, _geometry.ClustersFor(image.File.Length));
        (long blocks, long tableClusters) = Plan(first);
        if (tableClusters << _geometry.ClusterBits > Math.Max(MaxRefcountTableBytes, _geometry.ClusterLength))
        {
            throw new ErrnoException(Errno.EFBIG, $"Image '{image.File.FileName}': a refcount table for {first} clusters is too large");
        }

        for (long cluster = first; cluster < first + blocks + tableClusters; cluster++)
        {
            references.TryAdd(cluster);
        }

        await WriteBlocksAsync(first, blocks, progress);
        await WriteTableAsync(first, blocks, tableClusters);
        await image.File.FlushAsync();
        return ((first + blocks) << _geometry.ClusterBits, (int)tableClusters);
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

    private async IoTask WriteBlocksAsync(long first, long blocks, Action<long, long>? progress)
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
            progress?.Invoke(index + 1, blocks);
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
