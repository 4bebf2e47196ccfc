using System.Buffers;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Qcow2;

/// <summary>Writes of whole clusters that are stored compressed, packed one behind another; what does not get smaller is stored as is.</summary>
internal sealed class CompressedWriter(Qcow2Image image, ClusterReader reader, ClusterWriter writer)
{
    private const int Parallel = 8;

    private readonly Qcow2Geometry _geometry = image.Geometry;
    private readonly LoopMutex _storing = new();

    internal async IoTask WriteAsync(long offset, IoVector data)
    {
        long end = offset + data.Length;
        if (_geometry.HasDataFile)
        {
            throw new ErrnoException(Errno.ENOTSUP, $"Image '{image.File.FileName}' has an external data file, which can't hold compressed clusters");
        }

        if (image.Encryption is not null)
        {
            throw new ErrnoException(Errno.ENOTSUP, $"Image '{image.File.FileName}' is encrypted, and compressed clusters would not be");
        }

        if (_geometry.InCluster(offset) != 0 || (_geometry.InCluster(end) != 0 && end != image.Length))
        {
            throw new ErrnoException(Errno.EINVAL, $"Compressed write of {data.Length} bytes at {offset} does not cover whole clusters of {_geometry.ClusterLength} bytes");
        }

        for (long done = 0; done < data.Length;)
        {
            long length = Math.Min(data.Length - done, (long)Parallel << _geometry.ClusterBits);
            await image.BeginChangeAsync();
            await WriteGroupAsync(offset + done, data.Slice(done, length));
            done += length;
        }
    }

    private async IoTask WriteGroupAsync(long offset, IoVector data)
    {
        int count = (int)_geometry.ClustersFor(data.Length);
        var packing = new IoTask<(byte[] Bytes, int Length)>[count];
        for (int i = 0; i < count; i++)
        {
            long start = (long)i << _geometry.ClusterBits;
            packing[i] = PackAsync(data.Slice(start, Math.Min(_geometry.ClusterLength, data.Length - start)));
        }

        Exception? failure = null;
        for (int i = 0; i < count; i++)
        {
            long start = (long)i << _geometry.ClusterBits;
            (byte[] packed, int length) = await packing[i];
            try
            {
                if (failure is null)
                {
                    await StoreAsync(offset + start, data.Slice(start, Math.Min(_geometry.ClusterLength, data.Length - start)), packed.AsMemory(0, length));
                }
            }
            catch (IOException e)
            {
                failure = e;
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(packed);
            }
        }

        if (failure is not null)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        }
    }

    private IoTask<(byte[] Bytes, int Length)> PackAsync(IoVector data)
    {
        int clusterLength = _geometry.ClusterLength;
        byte[] cluster = ArrayPool<byte>.Shared.Rent(clusterLength);
        data.CopyTo(cluster.AsSpan(0, (int)data.Length));
        cluster.AsSpan((int)data.Length, clusterLength - (int)data.Length).Clear();
        Qcow2Compression compression = image.Header.Current.Compression;
        return Offload.Run(() =>
        {
            // A result that is not smaller by a byte is worth nothing, so there is no room for it.
            byte[] packed = ArrayPool<byte>.Shared.Rent(clusterLength);
            int length = CompressedCluster.Pack(cluster.AsMemory(0, clusterLength), packed.AsMemory(0, clusterLength - 1), compression);
            ArrayPool<byte>.Shared.Return(cluster);
            return (packed, length);
        });
    }

    private async IoTask StoreAsync(long offset, IoVector data, ReadOnlyMemory<byte> packed)
    {
        if (packed.Length == 0)
        {
            await writer.WriteAsync(offset, data);
            return;
        }

        using RangeLock.Held held = await image.Locks.LockAsync(offset, _geometry.ClusterLength);
        await image.L2Tables.EnsureAsync(offset);

        // Neighbours share sectors of the file, which may be rewritten as a whole below.
        await _storing.LockAsync();
        try
        {
            long host = await image.Allocator.AllocateBytesAsync(packed.Length);
            ulong entry = _geometry.CompressedEntry(host, packed.Length);
            if (_geometry.CompressedOffset(entry) != host)
            {
                throw new ErrnoException(Errno.EFBIG, $"Image '{image.File.FileName}' is too large for compressed clusters: offset {host}");
            }

            reader.Invalidate();
            image.File.Signal(BlockEvents.WriteCompressed);
            await image.File.WriteBytesAsync(host, packed);
            CachedTable table = await image.Map.GetTableAsync(offset);
            L2Entry old = image.Map.GetEntry(table, offset);
            image.Tables.NeedBarrier();
            image.File.Signal(BlockEvents.UpdateL2Compressed);
            image.Map.SetEntry(table, offset, new L2Entry(entry, 0));
            image.FreeEntry(old.Value, discard: false);
        }
        finally
        {
            _storing.Unlock();
        }
    }
}
