using Ingot.Block;
using Ingot.Drivers.Filters;
using Ingot.Io;

namespace Ingot.Drivers.Compress;

/// <summary>Driver "compress": what is written is stored compressed.</summary>
public sealed class CompressDriver : BlockDriver
{
    /// <inheritdoc/>
    public override string Name => "compress";

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        ChildNode file = await request.OpenRequiredChildAsync("file");
        if (DriverTable.Find(file.Node.DriverName)?.CreateOptions.Any(o => o.Name == "compression_type") == true)
        {
            return new CompressNode(request.NodeName, file, request.IsReadWrite);
        }

        await file.CloseAsync();
        throw new OptionException($"Compression is not supported for underlying format: {file.Node.DriverName}");
    }
}

/// <summary>See <see cref="CompressDriver"/>. Clusters are compressed whole: the rest of one that is written in part is read before.</summary>
internal sealed class CompressNode(string? nodeName, ChildNode file, bool writable) : FilterNode(nodeName, file, writable)
{
    private const int MaxPiece = 1 << 20;

    private readonly RangeLock _partial = new();
    private readonly int _cluster = Math.Max(file.Node.Limits.OptimalTransfer, 1);

    public override string DriverName => "compress";

    protected override async IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        flags |= WriteFlags.Compressed;
        long start = offset / _cluster * _cluster;
        using RangeLock.Held held = await _partial.LockAsync(start, EndOf(offset + data.Length) - start);
        if (start == offset && EndOf(offset + data.Length) == offset + data.Length)
        {
            await Child.WriteAsync(offset, data, flags);
            return;
        }

        for (long done = 0; done < data.Length;)
        {
            done += await WritePieceAsync(offset + done, data.Slice(done), flags);
        }
    }

    protected override async IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        using RangeLock.Held held = await _partial.LockAsync(offset, length);
        await Child.WriteZeroesAsync(offset, length, flags);
    }

    private long EndOf(long offset) => Math.Min((offset + _cluster - 1) / _cluster * _cluster, Length);

    private async IoTask<long> WritePieceAsync(long offset, IoVector data, WriteFlags flags)
    {
        long start = offset / _cluster * _cluster;
        int span = (int)(Math.Min(EndOf(offset + data.Length), start + Math.Max(MaxPiece, _cluster)) - start);
        int skip = (int)(offset - start);
        int count = (int)Math.Min(data.Length, span - skip);
        IoBuffer clusters = BufferPool.Local.Rent(span);
        try
        {
            if (count < span)
            {
                await Child.ReadAsync(start, clusters.Slice(0, span));
            }

            clusters.Slice(skip, count).CopyFrom(data.Slice(0, count));
            await Child.WriteAsync(start, clusters.Slice(0, span), flags);
            return count;
        }
        finally
        {
            BufferPool.Local.Return(clusters);
        }
    }
}
