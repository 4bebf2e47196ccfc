using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>Reads that one child request can't answer: several runs, compressed clusters, tables that must be loaded, ends of files.</summary>
internal sealed class ClusterReader(Qcow2Image image)
{
    private const int Parallel = 16;

    // The cluster that was unpacked last: readers in sequence ask for it piece by piece.
    private byte[]? _unpacked;
    private ulong _unpackedEntry;
    private int _unpackedVersion;
    private int _version;

    /// <summary>Reads what the guest sees.</summary>
    internal async IoTask ReadAsync(long offset, IoVector data)
    {
        var batch = new TaskBatch(Parallel);
        try
        {
            for (long done = 0; done < data.Length;)
            {
                Mapping mapping = await image.MapAsync(offset + done, data.Length - done);
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
                return image.File.ReadAsync(mapping.HostOffset, data);
            case ClusterKind.Compressed:
                return ReadCompressedAsync(offset, mapping.Entry, data);
            case ClusterKind.Unallocated when image.Backing is { } backing && offset < backing.Node.Length:
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
        length = Math.Min(length, image.Length - offset);
        while (length > 0)
        {
            Mapping mapping = await image.MapAsync(offset, length);
            bool zero = mapping.Kind is ClusterKind.Zero or ClusterKind.ZeroAllocated
                || (mapping.Kind == ClusterKind.Unallocated && (image.Backing is not { } backing || offset >= backing.Node.Length));
            if (!zero)
            {
                return false;
            }

            offset += mapping.Length;
            length -= mapping.Length;
        }

        return true;
    }

    /// <summary>Forgets unpacked data, because what lies at a place in the file may change.</summary>
    internal void Invalidate() => _version++;

    private async IoTask ReadCompressedAsync(long offset, ulong entry, IoVector data)
    {
        int skip = image.Geometry.InCluster(offset);
        if (_unpacked is { } known && _unpackedEntry == entry && _unpackedVersion == _version)
        {
            data.CopyFrom(known.AsSpan(skip, (int)data.Length));
            return;
        }

        int version = _version;
        int packedLength = image.Geometry.CompressedLength(entry);
        byte[] packed = System.Buffers.ArrayPool<byte>.Shared.Rent(packedLength);
        IoBuffer buffer = BufferPool.Local.Rent(packedLength);
        byte[] cluster;
        try
        {
            await image.File.ReadAsync(image.Geometry.CompressedOffset(entry), buffer.Slice(0, packedLength));
            buffer.Span[..packedLength].CopyTo(packed);
            cluster = Interlocked.Exchange(ref _unpacked, null) ?? new byte[image.Geometry.ClusterLength];
            if (!await CompressedCluster.UnpackAsync(packed.AsMemory(0, packedLength), cluster, image.Header.Current.Compression))
            {
                throw new Linux.ErrnoException(Linux.Errno.EIO, $"Image '{image.File.FileName}': the compressed cluster of guest offset {image.Geometry.AlignDown(offset)} can't be unpacked");
            }
        }
        finally
        {
            BufferPool.Local.Return(buffer);
            System.Buffers.ArrayPool<byte>.Shared.Return(packed);
        }

        data.CopyFrom(cluster.AsSpan(skip, (int)data.Length));
        _unpacked = cluster;
        _unpackedEntry = entry;
        _unpackedVersion = version;
    }
}
