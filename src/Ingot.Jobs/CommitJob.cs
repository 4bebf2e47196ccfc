using Ingot.Block;
using Ingot.Io;

namespace Ingot.Jobs;

/// <summary>Writes what an image and those between it and a base hold into the base, which then reads as the image does.</summary>
public sealed class CommitJob
{
    private readonly BlockNode _top;
    private readonly BlockNode _base;
    private readonly long _bytesPerSecond;

    /// <summary>Prepares the commit.</summary>
    /// <param name="top">The image.</param>
    /// <param name="below">A node of its backing chain, opened for writing.</param>
    /// <param name="bytesPerSecond">The rate; 0 for no limit.</param>
    public CommitJob(BlockNode top, BlockNode below, long bytesPerSecond)
    {
        _top = top;
        _base = below;
        _bytesPerSecond = bytesPerSecond;
    }

    /// <summary>Bytes to look at.</summary>
    public long Length => _top.Length;

    /// <summary>Called with the bytes done so far.</summary>
    public Action<long>? Progress { get; set; }

    /// <summary>Set to end early.</summary>
    public CancellationToken Cancellation { get; set; }

    /// <summary>Grows the base if need be, copies, and makes the base durable.</summary>
    /// <returns>The task.</returns>
    public async IoTask RunAsync()
    {
        if (_base.Length < _top.Length)
        {
            await _base.ResizeAsync(_top.Length);
        }

        var copier = new BlockCopier(_top, _base, new CopyOptions
        {
            Below = _base,
            BytesPerSecond = _bytesPerSecond,
            SparseLength = Math.Max(512, _base.Limits.RequestAlignment),
            DetectsZeroes = false,
        })
        {
            Cancellation = Cancellation,
        };
        copier.Progress = () => Progress?.Invoke(copier.Done);
        await copier.RunAsync();
        await _base.FlushAsync();
    }

    /// <summary>Gives up what the top holds: it reads the same from its backing file now.</summary>
    /// <returns>The task.</returns>
    public async IoTask EmptyTopAsync()
    {
        await _top.EmptyAsync();
        await _top.FlushAsync();
    }
}
