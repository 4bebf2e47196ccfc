using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Qcow2;

/// <summary>Clusters that were just allocated.</summary>
/// <param name="First">The first one's number.</param>
/// <param name="Count">How many, one after another.</param>
/// <param name="IsFresh">True when the file certainly holds zeroes there.</param>
internal readonly record struct ClusterRun(long First, long Count, bool IsFresh);

/// <summary>
/// Finds free clusters: the first run that is long enough, as QEMU does, so that what is written in one piece is stored in one piece. The search goes on
/// where it ended and begins lower again when something lower is freed. Past the last used cluster it makes the refcount blocks, and a bigger refcount
/// table, that new clusters need.
/// </summary>
internal sealed class ClusterAllocator(Qcow2Geometry geometry, HostFile file, RefcountTable refcounts)
{
    private readonly LoopMutex _mutex = new();
    private long _next; // where the search begins
    private long _end = -1; // all clusters from here are free; -1 until looked for
    private long _fresh; // the file holds zeroes from this cluster on
    private long _packOffset; // where the next compressed cluster goes; 0 for a new cluster

    internal RefcountGrowth Growth { get; } = new(geometry, file, refcounts);

    /// <summary>Whether a range of the file holds no metadata.</summary>
    internal Func<long, long, bool>? MayUse { get; init; }

    /// <summary>Makes the exception for a range that counts as free but holds metadata, and what was to go there.</summary>
    internal Func<long, long, string, IoTask<ErrnoException>>? Refuse { get; init; }

    /// <summary>Allocates neighbouring clusters, with a reference count of 1.</summary>
    /// <param name="count">How many.</param>
    /// <param name="what">What they are for, for the message when there is something wrong.</param>
    internal async IoTask<ClusterRun> AllocateAsync(long count, string what = "data cluster")
    {
        await _mutex.LockAsync();
        try
        {
            file.Signal(BlockEvents.AllocateClusters);
            return await AllocateLockedAsync(count, what);
        }
        finally
        {
            _mutex.Unlock();
        }
    }

    /// <summary>Allocates room for a compressed cluster, packed behind the last one.</summary>
    /// <returns>Its offset in the file.</returns>
    internal async IoTask<long> AllocateBytesAsync(int length)
    {
        await _mutex.LockAsync();
        try
        {
            file.Signal(BlockEvents.AllocateBytes);
            long offset = _packOffset;
            if (offset != 0 && await refcounts.GetAsync(geometry.ClusterOf(offset)) == geometry.MaxRefcount)
            {
                offset = 0;
            }

            bool spills = offset != 0 && geometry.InCluster(offset) + length > geometry.ClusterLength;
            if (offset == 0 || spills)
            {
                long added = (await AllocateLockedAsync(1, "compressed cluster")).First << geometry.ClusterBits;
                if (!spills || geometry.AlignUp(offset) != added)
                {
                    offset = added;
                    return Pack(offset, length);
                }
            }

            long shared = geometry.ClusterOf(offset);
            SignalCounts();
            await refcounts.SetAsync(shared, await refcounts.GetAsync(shared) + 1);
            return Pack(offset, length);
        }
        finally
        {
            _mutex.Unlock();
        }
    }

    /// <summary>Gives back what was allocated but never referenced.</summary>
    internal async IoTask UndoAsync(ClusterRun run)
    {
        await _mutex.LockAsync();
        try
        {
            await DropLockedAsync(run.First, run.Count);
        }
        finally
        {
            _mutex.Unlock();
        }
    }

    /// <summary>Drops one reference of each cluster, when nothing on disk names them any more.</summary>
    /// <param name="frees">Runs of clusters; may name a cluster several times.</param>
    /// <param name="discard">Tells the file below that it may give back a range.</param>
    internal async IoTask DropAsync(List<FreedClusters> frees, Func<long, long, IoTask>? discard)
    {
        await _mutex.LockAsync();
        try
        {
            // In the order of the file: each block of counts is needed once.
            frees.Sort((a, b) => a.First.CompareTo(b.First));

            // While the mutex is held nobody can be given what is being discarded.
            foreach (FreedClusters freed in frees)
            {
                if (freed.Discard && discard is not null)
                {
                    await DiscardUnsharedAsync(freed, discard);
                }

                await DropLockedAsync(freed.First, freed.Count);
            }
        }
        finally
        {
            _mutex.Unlock();
        }
    }

    /// <summary>Looks for the end of the last cluster that is in use.</summary>
    internal async IoTask<long> FindUsedLengthAsync()
    {
        await _mutex.LockAsync();
        try
        {
            _end = await FindEndAsync();
            _fresh = Math.Max(_fresh, geometry.ClustersFor(file.Length));
            return _end << geometry.ClusterBits;
        }
        finally
        {
            _mutex.Unlock();
        }
    }

    /// <summary>Forgets what it knows; for after a repair.</summary>
    internal void Reset()
    {
        _next = 0;
        _end = -1;
        _packOffset = 0;
    }

    private long Pack(long offset, int length)
    {
        long end = offset + length;
        _packOffset = geometry.InCluster(end) == 0 ? 0 : end;
        return offset;
    }

    private async IoTask DiscardUnsharedAsync(FreedClusters freed, Func<long, long, IoTask> discard)
    {
        for (long at = freed.First; at < freed.First + freed.Count;)
        {
            long run = at;
            while (run < freed.First + freed.Count && await refcounts.GetAsync(run) == 1)
            {
                run++;
            }

            if (run > at)
            {
                await discard(at << geometry.ClusterBits, (run - at) << geometry.ClusterBits);
            }

            at = run + 1;
        }
    }

    private async IoTask DropLockedAsync(long first, long count)
    {
        file.Signal(BlockEvents.FreeClusters);
        SignalCounts();
        for (long cluster = first; cluster < first + count; cluster++)
        {
            ulong references = await refcounts.GetAsync(cluster);
            if (references == 0)
            {
                throw new ErrnoException(Errno.EIO, $"Image '{file.FileName}': the reference count of cluster {cluster} would drop below zero");
            }

            await refcounts.SetAsync(cluster, references - 1);
            if (references == 1)
            {
                _next = Math.Min(_next, cluster);
                if (_packOffset != 0 && geometry.ClusterOf(_packOffset) == cluster)
                {
                    _packOffset = 0;
                }
            }
        }
    }

    private void SignalCounts()
    {
        file.Signal(BlockEvents.FindRefcounts);
        file.Signal(BlockEvents.LoadRefcounts);
    }

    private async IoTask<ClusterRun> AllocateLockedAsync(long count, string what)
    {
        if (_end < 0)
        {
            _end = await FindEndAsync();
            _fresh = Math.Max(_fresh, Math.Max(_end, geometry.ClustersFor(file.Length)));
        }

        long first = await FindFreeAsync(count);
        (long offset, long length) = (first << geometry.ClusterBits, count << geometry.ClusterBits);
        if (first == 0 || MayUse?.Invoke(offset, length) == false)
        {
            throw Refuse is null
                ? new ErrnoException(Errno.EIO, $"Image '{file.FileName}' is corrupt: clusters at {offset} count as free but are in use")
                : await Refuse(offset, length, what);
        }

        bool fresh = first >= _fresh;
        if (first + count > _end)
        {
            _end = await Growth.ExtendAsync(first, count, _fresh);
            _fresh = Math.Max(_fresh, _end);
        }

        SignalCounts();
        for (long cluster = first; cluster < first + count; cluster++)
        {
            await refcounts.SetAsync(cluster, 1);
        }

        _next = first + count;
        _end = Math.Max(_end, first + count);
        _fresh = Math.Max(_fresh, _end);
        return new ClusterRun(first, count, fresh);
    }

    private async IoTask<long> FindFreeAsync(long count)
    {
        long at = _next;
        while (at < _end)
        {
            if (refcounts.BlockOf(at) == 0)
            {
                // A hole in the refcount table below the end stays unused: filling it is not worth the code.
                at = ((at >> geometry.RefcountBlockBits) + 1) << geometry.RefcountBlockBits;
                continue;
            }

            if (!refcounts.TryGet(at, out ulong references))
            {
                await refcounts.LoadAsync(at);
                continue;
            }

            if (references != 0)
            {
                at++;
                continue;
            }

            long run = 1;
            while (run < count && at + run < _end && refcounts.BlockOf(at + run) != 0 && await refcounts.GetAsync(at + run) == 0)
            {
                run++;
            }

            if (run == count || at + run == _end)
            {
                return at;
            }

            at += run;
        }

        return Math.Max(at, _end);
    }

    private async IoTask<long> FindEndAsync()
    {
        for (int index = refcounts.Table.Count - 1; index >= 0; index--)
        {
            long first = (long)index << geometry.RefcountBlockBits;
            if (refcounts.BlockOf(first) == 0)
            {
                continue;
            }

            for (long cluster = first + (1L << geometry.RefcountBlockBits) - 1; cluster >= first; cluster--)
            {
                if (await refcounts.GetAsync(cluster) != 0)
                {
                    return cluster + 1;
                }
            }
        }

        return 0;
    }
}
