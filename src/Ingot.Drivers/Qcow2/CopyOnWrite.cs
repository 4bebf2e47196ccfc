using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>Fills newly allocated clusters: the guest's bytes, and around them what the guest saw before.</summary>
internal sealed class CopyOnWrite(Qcow2Image image, ClusterReader reader)
{
    // Up to this size one copy in memory and one write are cheaper than three writes.
    private const long MaxBounce = 256 << 10;

    /// <summary>Writes a range of the file whole, unless it is known to hold zeroes where zeroes are due.</summary>
    /// <param name="offset">Guest offset of the data.</param>
    /// <param name="data">The guest's bytes.</param>
    /// <param name="start">Guest offset of the range.</param>
    /// <param name="whole">Its length.</param>
    /// <param name="host">Where it lies.</param>
    /// <param name="isFresh">True when the file certainly holds zeroes there.</param>
    internal async IoTask WriteAsync(long offset, IoVector data, long start, long whole, long host, bool isFresh)
    {
        long head = offset - start;
        long tail = whole - head - data.Length;
        bool isWhole = head + tail == 0;
        if (isWhole || (isFresh && await reader.IsZeroAsync(start, head) && await reader.IsZeroAsync(offset + data.Length, tail)))
        {
            if (!isWhole)
            {
                image.File.Signal(BlockEvents.ZeroNewClusters);
            }

            await image.Content.WriteAsync(offset, host + head, data);
        }
        else if (whole <= MaxBounce)
        {
            await WriteWholeAsync(offset, data, start, host, (int)whole);
        }
        else
        {
            await WritePartsAsync(offset, data, start, host, whole);
        }
    }

    private async IoTask WriteWholeAsync(long offset, IoVector data, long start, long host, int whole)
    {
        IoBuffer buffer = BufferPool.Local.Rent(whole);
        try
        {
            int head = (int)(offset - start);
            int length = (int)data.Length;
            await ReadOldAsync(start, buffer.Slice(0, head));
            await ReadOldAsync(offset + length, buffer.Slice(head + length, whole - head - length));
            data.CopyTo(buffer.Span.Slice(head, length));
            await image.Content.WriteAsync(start, host, buffer.Slice(0, whole));
        }
        finally
        {
            BufferPool.Local.Return(buffer);
        }
    }

    private async IoTask WritePartsAsync(long offset, IoVector data, long start, long host, long whole)
    {
        int head = (int)(offset - start);
        int tail = (int)(whole - head - data.Length);
        IoBuffer buffer = BufferPool.Local.Rent(Math.Max(1, head + tail));
        var batch = new TaskBatch(3);
        try
        {
            IoVector before = buffer.Slice(0, head);
            IoVector after = buffer.Slice(head, tail);
            await ReadOldAsync(start, before);
            await ReadOldAsync(offset + data.Length, after);
            batch.Add(WriteIfAny(start, host, before));
            batch.Add(image.Content.WriteAsync(offset, host + head, data));
            batch.Add(WriteIfAny(offset + data.Length, host + head + data.Length, after));
        }
        finally
        {
            await batch.WaitAllAsync();
            BufferPool.Local.Return(buffer);
        }
    }

    private IoTask WriteIfAny(long offset, long host, IoVector data) => data.Length == 0 ? IoTask.Completed : image.Content.WriteCopyAsync(offset, host, data);

    // What lies behind the end of the disk in its last cluster is zero.
    private IoTask ReadOldAsync(long offset, IoVector data)
    {
        long inside = image.ClampToContent(offset, data.Length);
        data.Slice(inside).Clear();
        if (inside == 0)
        {
            return IoTask.Completed;
        }

        image.File.Signal(BlockEvents.ReadCopy);
        return reader.ReadAsync(offset, data.Slice(0, inside));
    }
}
