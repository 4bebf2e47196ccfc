using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Jobs;

/// <summary>Copies one image, or several end to end, into another that is there already.</summary>
public sealed class ConvertJob
{
    private readonly BlockCopier _copier;

    /// <summary>Prepares the copy.</summary>
    /// <param name="sources">Read from; stay owned by the caller.</param>
    /// <param name="target">Written to; stays owned by the caller.</param>
    /// <param name="options">How.</param>
    /// <exception cref="ErrnoException">The target is too small.</exception>
    public ConvertJob(IReadOnlyList<BlockNode> sources, BlockNode target, CopyOptions options)
    {
        BlockNode source = sources.Count == 1 ? sources[0] : new ConcatNode(sources);
        _copier = new BlockCopier(source, target, options);
        if (_copier.Length > target.Length)
        {
            throw new ErrnoException(Errno.EINVAL, "output file is smaller than input file");
        }
    }

    /// <summary>Bytes to copy.</summary>
    public long Length => _copier.Length;

    /// <summary>Bytes done.</summary>
    public long Done => _copier.Done;

    /// <summary>The virtual size that a target for these sources needs: their sizes in whole sectors.</summary>
    /// <param name="sources">The sources.</param>
    /// <returns>Bytes.</returns>
    public static long TargetLength(IReadOnlyList<BlockNode> sources) => new ConcatNode(sources).Length;

    /// <summary>Copies; flushes nothing.</summary>
    /// <param name="progress">Called with the bytes done so far; null for nobody.</param>
    /// <param name="cancellation">Ends the copy early.</param>
    /// <returns>The task.</returns>
    public IoTask RunAsync(Action<long>? progress, CancellationToken cancellation)
    {
        _copier.Cancellation = cancellation;
        _copier.Progress = progress is null ? null : () => progress(_copier.Done);
        return _copier.RunAsync();
    }
}
