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
    private readonly LoopMutex _partialWrites = new();
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
        await EnterAsync(DebugRequests.Read, offset, data.Length);
        (long start, long end) = Widen(offset, data.Length);
        if (end - start == data.Length)
        {
            await image.Node.ReadAsync(offset, data);
            return;
        }

        using var blocks = new IoBuffer((int)(end - start));
        await ReadBlocksAsync(start, blocks.Vector);
        data.CopyFrom(blocks.Slice((int)(offset - start), (int)data.Length));
    }

    protected override async IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        await EnterAsync(DebugRequests.Write, offset, data.Length);
        (long start, long end) = Widen(offset, data.Length);
        if (end - start == data.Length)
        {
            await image.Node.WriteAsync(offset, data, flags);
            return;
        }

        await _partialWrites.LockAsync();
        try
        {
            using var blocks = new IoBuffer((int)(end - start));
            await ReadBlocksAsync(start, blocks.Vector);
            blocks.Slice((int)(offset - start), (int)data.Length).CopyFrom(data);
            await image.Node.WriteAsync(start, blocks.Vector, flags);
        }
        finally
        {
            _partialWrites.Unlock();
        }
    }

    protected override async IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        (long start, long end) = Widen(offset, length);
        if (end - start != length)
        {
            await base.WriteZeroesCore(offset, length, flags);
            return;
        }

        for (long at = offset; at < end;)
        {
            long piece = Zeroes.FirstPiece(at, end - at);
            if (piece < Zeroes.Unit)
            {
                await base.WriteZeroesCore(at, piece, flags);
            }
            else
            {
                await EnterAsync(DebugRequests.WriteZeroes, at, piece);
                await image.Node.WriteZeroesAsync(at, piece, flags);
            }

            at += piece;
        }
    }

    protected override async IoTask DiscardCore(long offset, long length)
    {
        // Nothing happens to blocks that are not covered whole.
        long end = (offset + length) / align * align;
        for (long at = (offset + align - 1) / align * align; at < end;)
        {
            long piece = Discards.FirstPiece(at, end - at);
            await EnterAsync(DebugRequests.Discard, at, piece);
            await image.Node.DiscardAsync(at, piece);
            at += piece;
        }
    }

    protected override async IoTask FlushCore()
    {
        await EnterAsync(DebugRequests.Flush, 0, 0);
        await image.Node.FlushAsync();
    }

    protected override async IoTask<Extent> GetExtentCore(long offset, long length)
    {
        await EnterAsync(DebugRequests.BlockStatus, offset, length);
        return await image.Node.GetExtentAsync(offset, length);
    }

    protected override IoTask ResizeCore(long length, Preallocation preallocation) => image.Node.ResizeAsync(length, preallocation);

    private async IoTask EnterAsync(DebugRequests request, long offset, long length)
    {
        if (_holdNext is { } tag)
        {
            _holdNext = null;
            var held = new IoCompletionSource();
            _held[tag] = held;
            Tell?.Invoke($"blkdebug: Suspended request '{tag}'");
            await held.Task;
            Tell?.Invoke($"blkdebug: Resuming request '{tag}'");
        }

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
        long inside = Math.Clamp(Length - start, 0, blocks.Length);
        await image.Node.ReadAsync(Math.Min(start, Length), blocks.Slice(0, inside));
        blocks.Slice(inside).Clear();
    }
}
