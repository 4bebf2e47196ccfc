using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>Copies from another node's file: whole clusters within the kernel, parts of clusters by reading and writing.</summary>
internal sealed class RangeCopier(Qcow2Image image, ClusterWriter writer)
{
    /// <summary>Copies.</summary>
    /// <returns>False when the kernel can't; the range must then be written.</returns>
    internal async IoTask<bool> CopyAsync(long offset, BlockNode source, long sourceOffset, long length)
    {
        long end = offset + length;
        long first = Math.Min(end, image.Geometry.AlignUp(offset));
        long last = Math.Max(first, image.Geometry.AlignDown(end));
        long distance = sourceOffset - offset;
        await PassAsync(offset, source, distance, first);
        for (long at = first; at < last;)
        {
            long copied = await writer.CopyAsync(at, source, at + distance, last - at);
            if (copied == 0)
            {
                return false;
            }

            at += copied;
        }

        await PassAsync(last, source, distance, end);
        return true;
    }

    private async IoTask PassAsync(long from, BlockNode source, long distance, long to)
    {
        if (from == to)
        {
            return;
        }

        int length = (int)(to - from);
        IoBuffer buffer = BufferPool.Local.Rent(length);
        try
        {
            await source.ReadAsync(from + distance, buffer.Slice(0, length));
            await writer.WriteAsync(from, buffer.Slice(0, length));
        }
        finally
        {
            BufferPool.Local.Return(buffer);
        }
    }
}
