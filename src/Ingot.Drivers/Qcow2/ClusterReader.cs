using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>Reads that one child request can't answer: several runs, compressed clusters, tables that must be loaded, ends of files.</summary>
/// <param name="image">The image.</param>
/// <param name="map">Its tables, as the loop has them that this is used on.</param>
internal sealed class ClusterReader(Qcow2Image image, ClusterMap map)
{
    private const int Parallel = 16;

    // The cluster that was unpacked last: readers in sequence ask for it piece by piece.
    private IoBuffer? _unpacked;
    private ulong _unpackedEntry;
    private int _unpackedVersion;
    private int _version;

    internal ClusterMap Map => map;

    /// <summary>Reads what the guest sees.</summary>
    internal async IoTask ReadAsync(long offset, IoVector data)
    {
        var batch = new TaskBatch(Parallel);
        try
        {
            for (long done = 0; done < data.Length;)
            {
                Mapping mapping = await image.MapAsync(map, offset + done, data.Length - done);
                if (batch.IsFull)
                {
                    await batch.WaitOneAsync();
                    continue;
                }

                batch.Add(ReadMapped(offset + done, mapping, data.Slice(done, mapping.Length)));
                done += mapping.Length;
            }
        }
        finally
        {
            await batch.WaitAllAsync();
        }
    }

    /// <summary>Reads a range of which one mapping holds.</summary>
    internal IoTask ReadMapped(long offset, Mapping mapping, IoVector data)
    {
        switch (mapping.Kind)
        {
            case ClusterKind.Data:
                return image.Content.ReadAsync(offset, mapping.HostOffset, data);
            case ClusterKind.Compressed:
                return ReadCompressedAsync(offset, mapping.Entry, data);
            case ClusterKind.Unallocated or ClusterKind.Reserved when image.Backing is { } backing && offset < Math.Min(backing.Node.Length, image.Length):
                image.File.Signal(BlockEvents.ReadBacking);
                long inside = Math.Min(data.Length, backing.Node.Length - offset);
                data.Slice(inside).Clear();
                return backing.Node.ReadAsync(offset, data.Slice(0, inside));
            default:
                data.Clear();
                return IoTask.Completed;
        }
    }

    /// <summary>Whether a range certainly reads as zeroes, going by the tables only.</summary>
    internal async IoTask<bool> IsZeroAsync(long offset, long length)
    {
        length = image.ClampToContent(offset, length);
        while (length > 0)
        {
            Mapping mapping = await image.MapAsync(map, offset, length);
            bool zero = mapping.Kind is ClusterKind.Zero or ClusterKind.ZeroAllocated
                || (mapping.Kind is ClusterKind.Unallocated or ClusterKind.Reserved && (image.Backing is not { } backing || offset >= Math.Min(backing.Node.Length, image.Length)));
            if (!zero)
            {
                return false;
            }

            offset += mapping.Length;
            length -= mapping.Length;
        }

        return true;
    }

    /// <summary>Whether a range reads as zeroes as far as tables tell, those of backing images included.</summary>
    internal async IoTask<bool> ReadsAsZeroAsync(long offset, long length)
    {
        length = Math.Min(length, image.Length - offset);
        while (length > 0)
        {
            Mapping mapping = await image.MapAsync(map, offset, length);
            long known = mapping.Length;
            bool zero = mapping.Kind is ClusterKind.Zero or ClusterKind.ZeroAllocated;
            if (mapping.Kind is ClusterKind.Unallocated or ClusterKind.Reserved)
            {
                zero = true;
                if (image.Backing is { } backing && offset < backing.Node.Length)
                {
                    Extent extent = (await ExtentWalker.GetChainExtentAsync(backing.Node, offset, Math.Min(known, backing.Node.Length - offset))).Extent;
                    zero = extent.IsZero;
                    known = extent.Length;
                }
            }

            if (!zero)
            {
                return false;
            }

            offset += known;
            length -= known;
        }

        return true;
    }

    /// <summary>Forgets unpacked data, because what lies at a place in the file may change.</summary>
    internal void Invalidate() => _version++;

    /// <summary>Gives back memory.</summary>
    internal void Free()
    {
        _unpacked?.Dispose();
        _unpacked = null;
    }

    private async IoTask ReadCompressedAsync(long offset, ulong entry, IoVector data)
    {
        int skip = image.Geometry.InCluster(offset);
        if (_unpacked is { } known && _unpackedEntry == entry && _unpackedVersion == _version)
        {
            data.CopyFrom(known.Slice(skip, (int)data.Length));
            return;
        }

        if (data.IsSingle && data.Length == image.Geometry.ClusterLength)
        {
            await UnpackAsync(offset, entry, data);
            return;
        }

        int version = _version;
        IoBuffer cluster = BufferPool.Local.Rent(image.Geometry.ClusterLength);
        try
        {
            await UnpackAsync(offset, entry, cluster.Slice(0, image.Geometry.ClusterLength));
        }
        catch
        {
            BufferPool.Local.Return(cluster);
            throw;
        }

        data.CopyFrom(cluster.Slice(skip, (int)data.Length));
        if (_unpacked is { } old)
        {
            BufferPool.Local.Return(old);
        }

        _unpacked = cluster;
        _unpackedEntry = entry;
        _unpackedVersion = version;
    }

    private async IoTask UnpackAsync(long offset, ulong entry, IoVector cluster)
    {
        int length = image.Geometry.CompressedLength(entry);
        IoBuffer packed = BufferPool.Local.Rent(length);
        try
        {
            image.File.Signal(BlockEvents.ReadCompressed);
            await image.File.ReadAsync(image.Geometry.CompressedOffset(entry), packed.Slice(0, length));
            if (!await CompressedCluster.UnpackAsync(packed.Slice(0, length), cluster, image.Header.Current.Compression))
            {
                throw new Linux.ErrnoException(Linux.Errno.EIO, $"Image '{image.File.FileName}': the compressed cluster of guest offset {image.Geometry.AlignDown(offset)} can't be unpacked");
            }
        }
        finally
        {
            BufferPool.Local.Return(packed);
        }
    }
}
