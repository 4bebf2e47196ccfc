using Ingot.Io;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Writes that change tables: allocate clusters, fill what the guest did not write from what was there, and only then name the clusters in an L2 table.
/// Requests that allocate the same guest clusters take turns; others run side by side.
/// </summary>
internal sealed class ClusterWriter(Qcow2Image image, ClusterReader reader)
{
    private const int Parallel = 16;
    private const long MaxRun = 4 << 20;

    private readonly Qcow2Geometry _geometry = image.Geometry;
    private readonly CopyOnWrite _copyOnWrite = new(image, reader);

    internal async IoTask WriteAsync(long offset, IoVector data)
    {
        var batch = new TaskBatch(Parallel);
        try
        {
            for (long done = 0; done < data.Length;)
            {
                await image.BeginChangeAsync();
                Mapping mapping = await image.MapAsync(offset + done, data.Length - done);
                if (!mapping.IsWritableInPlace)
                {
                    done += await WriteAllocatingAsync(offset + done, data.Slice(done));
                    continue;
                }

                if (batch.IsFull)
                {
                    await batch.WaitOneAsync();
                    continue;
                }

                if (!image.IsDataRange(mapping.HostOffset, mapping.Length))
                {
                    throw await image.CorruptAsync($"guest offset {offset + done} maps to metadata at {mapping.HostOffset}");
                }

                batch.Add(image.File.WriteAsync(mapping.HostOffset, data.Slice(done, mapping.Length)));
                done += mapping.Length;
            }
        }
        finally
        {
            await batch.WaitAllAsync();
        }
    }

    /// <summary>Names clusters in L2 tables that exist and are not shared, and drops what was named before.</summary>
    /// <param name="offset">Guest offset of the first cluster.</param>
    /// <param name="count">Clusters.</param>
    /// <param name="hostOffset">Where the first one lies.</param>
    internal async IoTask LinkAsync(long offset, long count, long hostOffset)
    {
        for (long i = 0; i < count;)
        {
            CachedTable table = await image.Map.GetTableAsync(offset + (i << _geometry.ClusterBits));
            long guest = offset + (i << _geometry.ClusterBits);
            long end = Math.Min(count, i + ((image.Map.SliceCoverage - (guest & (image.Map.SliceCoverage - 1))) >> _geometry.ClusterBits));
            for (; i < end; i++)
            {
                guest = offset + (i << _geometry.ClusterBits);
                ulong entry = (ulong)(hostOffset + (i << _geometry.ClusterBits)) | CopiedFlag;
                ulong old = image.Map.GetEntry(table, guest);
                image.Map.SetEntry(table, guest, entry);
                if ((old & ~ZeroFlag) != entry)
                {
                    image.FreeEntry(old, discard: false);
                }
            }
        }
    }

    /// <summary>Whether a cluster must get a new place to be written, or only another table entry.</summary>
    internal static bool KeepsPlace(Mapping mapping) => mapping.Kind == ClusterKind.ZeroAllocated && mapping.IsCopied;

    // Writes the first run of a range that is not writable in place. Returns the bytes written: 0 when another request has allocated the cluster meanwhile.
    private async IoTask<long> WriteAllocatingAsync(long offset, IoVector data)
    {
        long start = _geometry.AlignDown(offset);
        long tableEnd = ((start >> _geometry.L1Shift) + 1) << _geometry.L1Shift;
        long limit = Math.Min(tableEnd, start + Math.Max(MaxRun, _geometry.ClusterLength));
        long end = Math.Min(_geometry.AlignUp(offset + data.Length), limit);
        using RangeLock.Held held = await image.Locks.LockAsync(start, end - start);
        await image.EnsureTableAsync(start);
        Mapping mapping = await image.MapAsync(start, end - start);
        if (mapping.IsWritableInPlace)
        {
            return 0;
        }

        if (KeepsPlace(mapping))
        {
            long count = _geometry.ClustersFor(mapping.Length);
            return await FillAsync(offset, data, start, new ClusterRun(_geometry.ClusterOf(mapping.HostOffset), count, IsFresh: false));
        }

        long wanted = await CountAllocatableAsync(start, end, mapping);
        ClusterRun run = await image.Allocator.AllocateAsync(wanted);
        try
        {
            return await FillAsync(offset, data, start, run);
        }
        catch
        {
            // Nothing names the clusters yet unless the last step failed half way; then they stay counted, which is a leak at worst.
            if (!await IsLinkedAsync(start, run))
            {
                await image.Allocator.UndoAsync(run);
            }

            throw;
        }
    }

    private async IoTask<long> CountAllocatableAsync(long start, long end, Mapping mapping)
    {
        long at = start;
        while (!mapping.IsWritableInPlace && !KeepsPlace(mapping))
        {
            at = Math.Min(end, _geometry.AlignUp(at + mapping.Length));
            if (at == end)
            {
                break;
            }

            mapping = await image.MapAsync(at, end - at);
        }

        return (at - start) >> _geometry.ClusterBits;
    }

    private async IoTask<long> FillAsync(long offset, IoVector data, long start, ClusterRun run)
    {
        long host = run.First << _geometry.ClusterBits;
        long length = Math.Min(data.Length, start + (run.Count << _geometry.ClusterBits) - offset);
        if (!image.IsDataRange(host, run.Count << _geometry.ClusterBits))
        {
            throw await image.CorruptAsync($"allocated clusters at {host} overlap metadata");
        }

        await _copyOnWrite.WriteAsync(offset, data.Slice(0, length), start, run);
        await LinkAsync(start, run.Count, host);
        return length;
    }

    private async IoTask<bool> IsLinkedAsync(long start, ClusterRun run)
    {
        try
        {
            Mapping mapping = await image.MapAsync(start, 1);
            return mapping.Kind == ClusterKind.Data && mapping.HostOffset == run.First << _geometry.ClusterBits;
        }
        catch (IOException)
        {
            return true;
        }
    }
}
