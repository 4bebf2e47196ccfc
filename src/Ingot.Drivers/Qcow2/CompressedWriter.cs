using System.Runtime.ExceptionServices;
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
    private readonly Stack<PackedCluster> _free = new();

    /// <summary>Gives back memory.</summary>
    internal void Free()
    {
        while (_free.TryPop(out PackedCluster? cluster))
        {
            cluster.Dispose();
        }
    }

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
        PackedCluster? first = StartPacking(offset, data);
        ExceptionDispatchInfo? failure = null;
        while (first is { } cluster)
        {
            first = cluster.Next;
            try
            {
                await cluster.Packing;
                if (failure is null)
                {
                    await StoreAsync(cluster.Offset, cluster.Data, cluster.Packed);
                }
            }
            catch (Exception e)
            {
                // Thrown when nobody uses the request's memory any more.
                failure ??= ExceptionDispatchInfo.Capture(e);
            }

            _free.Push(cluster);
        }

        failure?.Throw();
    }

    private PackedCluster? StartPacking(long offset, IoVector data)
    {
        PackedCluster? first = null;
        PackedCluster? last = null;
        for (long start = 0; start < data.Length; start += _geometry.ClusterLength)
        {
            PackedCluster cluster = _free.TryPop(out PackedCluster? used) ? used : new PackedCluster(_geometry.ClusterLength);
            cluster.Next = null;
            cluster.Start(offset + start, data.Slice(start, Math.Min(_geometry.ClusterLength, data.Length - start)), image.Header.Current.Compression);
            _ = last is null ? first = cluster : last.Next = cluster;
            last = cluster;
        }

        return first;
    }

    private async IoTask StoreAsync(long offset, IoVector data, IoVector packed)
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
            long host = await image.Allocator.AllocateBytesAsync((int)packed.Length);
            ulong entry = _geometry.CompressedEntry(host, (int)packed.Length);
            if (_geometry.CompressedOffset(entry) != host)
            {
                throw new ErrnoException(Errno.EFBIG, $"Image '{image.File.FileName}' is too large for compressed clusters: offset {host}");
            }

            reader.Invalidate();
            image.File.Signal(BlockEvents.WriteCompressed);
            await image.File.WriteAsync(host, packed);
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
