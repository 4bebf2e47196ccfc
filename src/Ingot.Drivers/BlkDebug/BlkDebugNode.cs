using Ingot.Block;
using Ingot.Drivers.Filters;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.BlkDebug;

/// <summary>See <see cref="BlkDebugDriver"/>. Requests that the alignment asked for does not allow are done as a device would: whole blocks are read, changed and written.</summary>
internal sealed class BlkDebugNode(string? nodeName, ChildNode image, DebugRules rules, int align, int maxTransfer) : BlockNode(nodeName), IEventSink, IBreakpoints
{
    private readonly Dictionary<string, string> _breakpoints = []; // tag to event
    private readonly Dictionary<string, IoCompletionSource> _held = [];
    private readonly BlockClaims _claims = new();
    private string? _holdNext;
    private bool _closed;

    public override string DriverName => "blkdebug";

    public override long Length => image.Node.Length;

    public override BlockLimits Limits => image.Node.Limits with { RequestAlignment = align, MaxTransfer = maxTransfer };

    // Rules and breakpoints belong to one loop.
    public override BlockFeatures Features => image.Node.Features & ~(BlockFeatures.AnyLoop | BlockFeatures.CopyRange);

    public override IEnumerable<(string Role, BlockNode Node)> Children => [("image", image.Node)];

    public override BlockNode File => image.Node;

    public override string FileName => !HasOptions && !image.Node.FileName.StartsWith("json:", StringComparison.Ordinal)
        ? $"blkdebug:{Config}:{image.Node.FileName}"
        : JsonName.Of(
            ("config", Config is null ? null : JsonText.Quote(Config)),
            ("image", JsonText.Describe(image.Node)),
            ("driver", JsonText.Quote(DriverName)));

    /// <summary>The file with rules, or null.</summary>
    internal string? Config { get; init; }

    /// <summary>True when there is more to it than a file with rules: then a name can't tell all of it.</summary>
    internal bool HasOptions { get; init; }

    public override BlockNode? Backing => image.Node.Backing;

    internal ExtentLimits Zeroes { get; init; }

    internal ExtentLimits Discards { get; init; }

    /// <summary>Tells an operator of requests that are held.</summary>
    internal Action<string>? Tell { get; init; }

    public void Signal(string eventName)
    {
        rules.Signal(eventName);
        if (_breakpoints.FirstOrDefault(b => b.Value == eventName).Key is { } tag)
        {
            _breakpoints.Remove(tag);
            _holdNext = tag;
        }
    }

    public void SetBreakpoint(string eventName, string tag)
    {
        if (!BlockEvents.IsKnown(eventName))
        {
            throw new ErrnoException(Errno.EINVAL, ErrnoException.Text(Errno.EINVAL));
        }

        _breakpoints[tag] = eventName;
    }

    public bool RemoveBreakpoint(string tag) => _breakpoints.Remove(tag) | Resume(tag);

    public bool Resume(string tag)
    {
        if (!_held.Remove(tag, out IoCompletionSource? request))
        {
            return false;
        }

        request.SetResult();
        return true;
    }

    public bool IsSuspended(string tag) => _held.ContainsKey(tag);

    public override async IoTask<ImageInfo> GetInfoAsync()
    {
        ImageInfo below = await image.Node.GetInfoAsync();
        return new ImageInfo { ClusterSize = below.ClusterSize, VmStateOffset = below.VmStateOffset, IsDirty = below.IsDirty };
    }

    public override IoTask CloseAsync()
    {
        if (_closed)
        {
            return IoTask.Completed;
        }

        _closed = true;
        return image.CloseAsync();
    }

    protected override async IoTask ReadCore(long offset, IoVector data)
    {
        await HoldAsync();
        (long start, long end) = Widen(offset, data.Length);
        if (end - start == data.Length)
        {
            Check(DebugRequests.Read, offset, data.Length);
            await image.Node.ReadAsync(offset, data);
            return;
        }

        using var blocks = new IoBuffer((int)(end - start));
        await ReadBlocksAsync(start, blocks.Vector);
        data.CopyFrom(blocks.Slice((int)(offset - start), (int)data.Length));
    }

    protected override async IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        await HoldAsync();
        (long start, long end) = Widen(offset, data.Length);
        bool isWhole = end - start == data.Length;
        using BlockClaims.Claim claim = await _claims.TakeAsync(start, end, alone: !isWhole);
        if (isWhole)
        {
            await WriteBlocksAsync(offset, data, flags);
            return;
        }

        using var blocks = new IoBuffer((int)(end - start));
        await ReadEdgesAsync(start, blocks.Vector, offset, offset + data.Length);
        blocks.Slice((int)(offset - start), (int)data.Length).CopyFrom(data);
        await WriteBlocksAsync(start, blocks.Vector, flags);
    }

    protected override async IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        await HoldAsync();
        (long start, long end) = Widen(offset, length);
        using BlockClaims.Claim claim = await _claims.TakeAsync(start, end, alone: end - start != length);
        long last = offset + length;
        while (offset < last)
        {
            // A part of a block, or all whole blocks up to the next part.
            (start, end) = Widen(offset, Math.Min(last - offset, align - (offset % align)));
            if (start < offset || last < end)
            {
                await ZeroPartAsync(start, end, offset, Math.Min(end, last), flags);
            }
            else
            {
                end = Math.Max(end, last / align * align);
                await ZeroBlocksAsync(start, end, flags);
            }

            offset = end;
        }
    }

    protected override async IoTask DiscardCore(long offset, long length)
    {
        // Nothing happens to blocks that are not covered whole.
        await HoldAsync();
        long start = (offset + align - 1) / align * align;
        long end = (offset + length) / align * align;
        using BlockClaims.Claim claim = await _claims.TakeAsync(start, end, alone: false);
        for (long at = start; at < end;)
        {
            long piece = Discards.FirstPiece(at, end - at);
            Check(DebugRequests.Discard, at, piece);
            await image.Node.DiscardAsync(at, piece);
            at += piece;
        }
    }

    protected override async IoTask FlushCore()
    {
        await HoldAsync();
        Check(DebugRequests.Flush, 0, 0);
        await image.Node.FlushAsync();
    }

    protected override async IoTask<Extent> GetExtentCore(long offset, long length)
    {
        await HoldAsync();
        Check(DebugRequests.BlockStatus, offset, length);
        return await image.Node.GetExtentAsync(offset, length);
    }

    protected override IoTask ResizeCore(long length, Preallocation preallocation) => image.Node.ResizeAsync(length, preallocation);

    // An event of a layer above holds the request that comes next.
    private async IoTask HoldAsync()
    {
        if (_holdNext is not { } tag)
        {
            return;
        }

        _holdNext = null;
        var held = new IoCompletionSource();
        _held[tag] = held;
        Tell?.Invoke($"blkdebug: Suspended request '{tag}'");
        await held.Task;
        Tell?.Invoke($"blkdebug: Resuming request '{tag}'");
    }

    // An event of this node itself.
    private IoTask PassAsync(string eventName)
    {
        Signal(eventName);
        return HoldAsync();
    }

    private void Check(DebugRequests request, long offset, long length)
    {
        if (rules.ErrorOf(request, offset, length) is var errno and not Errno.None)
        {
            throw new ErrnoException(errno, ErrnoException.Text(errno));
        }
    }

    // A last block that the image has in part only is the image's own matter.
    private (long Start, long End) Widen(long offset, long length)
    {
        long start = offset / align * align;
        long end = (offset + length + align - 1) / align * align;
        return length == 0 ? (offset, offset) : (start, end <= Length ? end : Math.Max(offset + length, Length));
    }

    private async IoTask ReadBlocksAsync(long start, IoVector blocks)
    {
        Check(DebugRequests.Read, start, blocks.Length);
        long inside = Math.Clamp(Length - start, 0, blocks.Length);
        await image.Node.ReadAsync(Math.Min(start, Length), blocks.Slice(0, inside));
        blocks.Slice(inside).Clear();
    }

    // The blocks that a request covers in part: the first, the last, or both at once where there are no others.
    private async IoTask ReadEdgesAsync(long start, IoVector blocks, long from, long to)
    {
        bool hasHead = from > start;
        bool hasTail = to < start + blocks.Length;
        bool isOneRead = blocks.Length <= (hasHead && hasTail ? 2 : 1) * (long)align;
        if (hasHead)
        {
            await PassAsync(BlockEvents.ReadHead);
        }

        if (hasTail && isOneRead)
        {
            await PassAsync(BlockEvents.ReadTail);
        }

        if (hasHead || isOneRead)
        {
            await ReadBlocksAsync(start, isOneRead ? blocks : blocks.Slice(0, align));
        }

        if (hasHead)
        {
            await PassAsync(BlockEvents.HeadRead);
        }

        if (hasTail && !isOneRead)
        {
            await PassAsync(BlockEvents.ReadTail);
            long last = (blocks.Length - 1) / align * align;
            await ReadBlocksAsync(start + last, blocks.Slice(last));
        }

        if (hasTail)
        {
            await PassAsync(BlockEvents.TailRead);
        }
    }

    private async IoTask WriteBlocksAsync(long offset, IoVector data, WriteFlags flags)
    {
        await PassAsync(BlockEvents.WriteBlocks);
        try
        {
            Check(DebugRequests.Write, offset, data.Length);
            await image.Node.WriteAsync(offset, data, flags);
        }
        finally
        {
            await PassAsync(BlockEvents.BlocksWritten);
        }
    }

    private async IoTask ZeroPartAsync(long start, long end, long from, long to, ZeroFlags flags)
    {
        using var blocks = new IoBuffer((int)(end - start));
        await ReadEdgesAsync(start, blocks.Vector, from, to);
        blocks.Slice((int)(from - start), (int)(to - from)).Clear();
        await WriteBlocksAsync(start, blocks.Vector, (flags & ZeroFlags.Fua) != 0 ? WriteFlags.Fua : WriteFlags.None);
    }

    private async IoTask ZeroBlocksAsync(long start, long end, ZeroFlags flags)
    {
        await PassAsync(BlockEvents.ZeroBlocks);
        try
        {
            for (long at = start; at < end;)
            {
                long piece = Zeroes.FirstPiece(at, end - at);
                await ZeroPieceAsync(at, piece, flags);
                at += piece;
            }
        }
        finally
        {
            await PassAsync(BlockEvents.BlocksWritten);
        }
    }

    // What is smaller than the unit of zeroes is written as data.
    private async IoTask ZeroPieceAsync(long offset, long length, ZeroFlags flags)
    {
        if (length >= Zeroes.Unit)
        {
            Check(DebugRequests.WriteZeroes, offset, length);
            await image.Node.WriteZeroesAsync(offset, length, flags);
            return;
        }

        Check(DebugRequests.Write, offset, length);
        await ZeroWriter.WriteAsync(image.Node, offset, length, flags);
    }
}
