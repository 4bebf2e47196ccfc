using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Finds out what clusters hold that tables call data, though nothing was ever written to them: an image with preallocated metadata has holes in its file
/// there. Asking the file for every cluster of every image would be slow, so that it is done only where the file takes clearly less room than it has clusters
/// in use (QEMU's rule, so that both tell the same).
/// </summary>
internal sealed class PreallocationProbe(Qcow2Image image)
{
    private volatile Answer _answer;

    private enum Answer : byte
    {
        /// <summary>Not asked yet.</summary>
        Unknown,

        /// <summary>It is not.</summary>
        No,

        /// <summary>It is.</summary>
        Yes,
    }

    /// <summary>True when <see cref="IsLikelyAsync"/> has its answer already; any thread.</summary>
    internal bool IsKnown => _answer != Answer.Unknown;

    /// <summary>Whether it is worth asking the file.</summary>
    internal IoTask<bool> IsLikelyAsync() => IsKnown ? new IoTask<bool>(_answer == Answer.Yes) : FindOutAsync();

    /// <summary>What the file says of data.</summary>
    /// <param name="mapping">Where it lies.</param>
    /// <returns>How long the statement holds, and whether it is a hole.</returns>
    internal async IoTask<(long Length, bool IsHole)> LookBelowAsync(Mapping mapping)
    {
        BlockNode node = image.Data.Node;
        if (mapping.HostOffset >= node.Length)
        {
            return (mapping.Length, true);
        }

        Extent extent = await node.GetExtentAsync(mapping.HostOffset, Math.Min(mapping.Length, node.Length - mapping.HostOffset));
        bool isLast = extent.End == node.Length && extent.IsZero;
        return (isLast ? mapping.Length : extent.Length, extent.IsZero);
    }

    private async IoTask<bool> FindOutAsync()
    {
        bool found;
        try
        {
            found = await CountAsync();
        }
        catch (IOException)
        {
            // The answer only saves work; whoever needs the counts will tell what is wrong with them.
            found = false;
        }

        _answer = found ? Answer.Yes : Answer.No;
        return found;
    }

    private async IoTask<bool> CountAsync()
    {
        if ((await image.File.Node.GetInfoAsync()).ActualSize is not { } room)
        {
            return false;
        }

        long clusters = image.Geometry.ClustersFor(image.File.Length);
        long stored = room >> image.Geometry.ClusterBits;
        long threshold = Math.Max(stored * 10 / 9, stored + 2);
        if (clusters < threshold)
        {
            return false;
        }

        await image.LoadRefcountTableAsync();
        long used = 0;
        for (long cluster = 0; cluster < clusters && used < threshold; cluster++)
        {
            used += await image.Refcounts.GetAsync(cluster) != 0 ? 1 : 0;
        }

        return used >= threshold;
    }
}
