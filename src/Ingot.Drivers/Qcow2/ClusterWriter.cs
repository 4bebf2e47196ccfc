using System.Numerics;
using Ingot.Block;
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
                Mapping mapping = await image.MapAsync(offset + done, data.Length - done, isForWriting: true);
                if (!mapping.IsWritableInPlace || await IsJoinedByKeptAsync(offset + done, data.Length - done, mapping))
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
                    throw await image.OverlapAsync(mapping.HostOffset, mapping.Length);
                }

                batch.Add(image.Content.WriteAsync(offset + done, mapping.HostOffset, data.Slice(done, mapping.Length)));
                done += mapping.Length;
            }
        }
        finally
        {
            await batch.WaitAllAsync();
        }
    }

    /// <summary>Has the kernel copy to the first run of whole clusters, which get their place as for a write.</summary>
    /// <param name="offset">Guest offset of the first cluster.</param>
    /// <param name="source">Where from.</param>
    /// <param name="sourceOffset">Where in it.</param>
    /// <param name="length">Bytes, whole clusters.</param>
    /// <returns>The bytes that were copied; 0 when it can't be done.</returns>
    internal async IoTask<long> CopyAsync(long offset, BlockNode source, long sourceOffset, long length)
    {
        await image.BeginChangeAsync();
        long end = EndOfRun(offset, length);
        using RangeLock.Held held = await image.Locks.LockAsync(offset, end - offset);
        await image.L2Tables.EnsureAsync(offset);
        Mapping mapping = await image.MapAsync(offset, end - offset, isForWriting: true);
        if (mapping.IsWritableInPlace || mapping.KeepsPlace)
        {
            bool isWhole = _geometry.InCluster(mapping.Length) == 0;
            return isWhole && await TryCopyAsync(offset, mapping.HostOffset, source, sourceOffset, mapping.Length) ? mapping.Length : 0;
        }

        ClusterRun run = await image.AllocateDataAsync(offset, await CountAllocatableAsync(offset, end, mapping) - _geometry.ClusterOf(offset));
        long host = run.First << _geometry.ClusterBits;
        long count = run.Count << _geometry.ClusterBits;
        try
        {
            if (await TryCopyAsync(offset, host, source, sourceOffset, count))
            {
                return count;
            }
        }
        catch
        {
            if (!await IsLinkedAsync(offset, host))
            {
                await image.UndoDataAsync(run);
            }

            throw;
        }

        await image.UndoDataAsync(run);
        return 0;
    }

    /// <summary>Names what was written in L2 tables that exist and are not shared, and drops the clusters that were named before.</summary>
    /// <param name="offset">Guest offset of the first subcluster.</param>
    /// <param name="length">Bytes, whole subclusters.</param>
    /// <param name="hostOffset">Where the first one lies.</param>
    /// <param name="isReserved">True to keep the space only: extended entries then say nothing of the content.</param>
    internal async IoTask LinkAsync(long offset, long length, long hostOffset, bool isReserved = false)
    {
        long end = offset + length;
        for (long guest = _geometry.AlignDown(offset); guest < end;)
        {
            CachedTable table = await image.Map.GetTableAsync(guest);
            long sliceEnd = Math.Min(end, (guest & -image.Map.SliceCoverage) + image.Map.SliceCoverage);
            for (; guest < sliceEnd; guest += _geometry.ClusterLength)
            {
                L2Entry old = image.Map.GetEntry(table, guest);
                bool readsAsZero = isReserved && image.Encryption is not null && !_geometry.IsExtended;
                ulong value = (ulong)(hostOffset + guest - offset) | CopiedFlag | (readsAsZero ? ZeroFlag : 0);
                L2Entry entry = new(value, (old.Value & CompressedFlag) != 0 ? 0 : old.Subclusters);
                image.Map.SetEntry(table, guest, isReserved ? entry : entry.WithStored(image.Map.MaskOf(guest, offset, end)));
                if (((old.Value ^ value) & ~ZeroFlag) != 0)
                {
                    image.FreeEntry(old.Value, discard: false);
                }
            }
        }
    }

    // Writes the first run of a range that is not writable in place. Returns the bytes written: 0 when another request has allocated the cluster meanwhile.
    private async IoTask<long> WriteAllocatingAsync(long offset, IoVector data)
    {
        long start = _geometry.AlignDown(offset);
        long end = EndOfRun(offset, data.Length);
        using RangeLock.Held held = await image.Locks.LockAsync(start, end - start);
        await image.L2Tables.EnsureAsync(start);
        long unit = _geometry.AlignDownToSubcluster(offset);
        Mapping mapping = await image.MapAsync(unit, end - unit);
        if (mapping.IsWritableInPlace || mapping.KeepsPlace)
        {
            return await WriteKeptAsync(offset, data, Math.Min(end, _geometry.AlignUpToSubcluster(offset + data.Length)), mapping);
        }

        long wanted = await CountAllocatableAsync(unit, end, mapping) - _geometry.ClusterOf(start);
        ClusterRun run = await image.AllocateDataAsync(start, wanted);
        try
        {
            long runEnd = start + (run.Count << _geometry.ClusterBits);
            (long from, long to) = await FindStoredAsync(offset, Math.Min(offset + data.Length, runEnd), start, runEnd);
            return await FillAsync(offset, data, from, to - from, (run.First << _geometry.ClusterBits) + from - start, run.IsFresh);
        }
        catch
        {
            // Nothing names the clusters yet unless the last step failed half way; then they stay counted, which is a leak at worst.
            if (!await IsLinkedAsync(offset, (run.First << _geometry.ClusterBits) + offset - start))
            {
                await image.UndoDataAsync(run);
            }

            throw;
        }
    }

    private long EndOfRun(long offset, long length)
    {
        long start = _geometry.AlignDown(offset);
        long tableEnd = ((start >> _geometry.L1Shift) + 1) << _geometry.L1Shift;
        return Math.Min(_geometry.AlignUp(offset + length), Math.Min(tableEnd, start + Math.Max(MaxRun, _geometry.ClusterLength)));
    }

    // Whether what can be written in place goes on, in the file too, as space that was kept: one write then does both.
    private async IoTask<bool> IsJoinedByKeptAsync(long offset, long length, Mapping mapping)
    {
        long next = offset + mapping.Length;
        if (next >= Math.Min(offset + length, EndOfRun(offset, length)))
        {
            return false;
        }

        Mapping following = await image.MapAsync(next, 1, isForWriting: true);
        return following.KeepsPlace && following.HostOffset == mapping.HostOffset + mapping.Length;
    }

    // Writes what has its place already, data and kept space alike, as far as it lies in one piece. Only kept space must be filled up to whole subclusters.
    // Returns 0 when all of it can be written in place.
    private async IoTask<long> WriteKeptAsync(long offset, IoVector data, long end, Mapping first)
    {
        long unit = _geometry.AlignDownToSubcluster(offset);
        long at = unit + Math.Min(first.Length, end - unit);
        Mapping last = first;
        bool hasKept = first.KeepsPlace;
        while (at < end)
        {
            Mapping next = await image.MapAsync(at, end - at, isForWriting: true);
            if (!(next.IsWritableInPlace || next.KeepsPlace) || next.HostOffset != first.HostOffset + at - unit)
            {
                break;
            }

            hasKept |= next.KeepsPlace;
            last = next;
            at += next.Length;
        }

        long from = first.KeepsPlace ? unit : offset;
        long to = last.KeepsPlace ? at : Math.Min(at, offset + data.Length);
        return hasKept ? await FillAsync(offset, data, from, to - from, first.HostOffset + from - unit, isFresh: false) : 0;
    }

    // The number of the first cluster that needs no new place.
    private async IoTask<long> CountAllocatableAsync(long at, long end, Mapping mapping)
    {
        while (!mapping.IsWritableInPlace && !mapping.KeepsPlace)
        {
            at = Math.Min(end, _geometry.AlignUp(at + mapping.Length));
            if (at == end)
            {
                break;
            }

            mapping = await image.MapAsync(at, end - at, isForWriting: true);
        }

        return _geometry.ClusterOf(at);
    }

    // What must be written to new clusters: the guest's range, and around it what the old clusters store. Subclusters that are zero or absent stay so.
    private async IoTask<(long From, long To)> FindStoredAsync(long offset, long dataEnd, long start, long runEnd)
    {
        if (!_geometry.IsExtended)
        {
            return (start, runEnd);
        }

        long from = _geometry.AlignDownToSubcluster(offset);
        long to = _geometry.AlignUpToSubcluster(dataEnd);
        long last = _geometry.AlignDown(dataEnd - 1);
        L2Entry firstEntry = image.Map.GetEntry(await image.Map.GetTableAsync(start), start);
        L2Entry lastEntry = image.Map.GetEntry(await image.Map.GetTableAsync(last), last);
        if (StoredOf(firstEntry) is var stored and not 0)
        {
            from = Math.Min(from, start + ((long)BitOperations.TrailingZeroCount(stored) << _geometry.SubclusterBits));
        }

        if (StoredOf(lastEntry) is var storedLast and not 0)
        {
            to = Math.Max(to, last + ((32L - BitOperations.LeadingZeroCount(storedLast)) << _geometry.SubclusterBits));
        }

        return (from, to);
    }

    private static uint StoredOf(L2Entry entry) => (entry.Value & CompressedFlag) != 0 ? uint.MaxValue : entry.Stored;

    private async IoTask<long> FillAsync(long offset, IoVector data, long start, long length, long host, bool isFresh)
    {
        long count = Math.Min(data.Length, start + length - offset);
        if (!image.IsDataRange(host, length))
        {
            throw await image.OverlapAsync(host, length);
        }

        // Where there were zeroes and the file holds zeroes, a crash shows zeroes at worst, and may cut the file off if the image is marked dirty.
        // Everything else must be there before its entry.
        bool isHarmless = isFresh && image.Tables.IsMarkedDirty && await reader.IsZeroAsync(start, length);
        await _copyOnWrite.WriteAsync(offset, data.Slice(0, count), start, length, host, isFresh);
        if (!isHarmless)
        {
            image.Tables.NeedBarrier();
        }

        await LinkAsync(start, length, host);
        return count;
    }

    private async IoTask<bool> TryCopyAsync(long offset, long host, BlockNode source, long sourceOffset, long length)
    {
        if (!image.IsDataRange(host, length))
        {
            throw await image.OverlapAsync(host, length);
        }

        if (!await image.Data.CopyRangeAsync(host, source, sourceOffset, length))
        {
            return false;
        }

        image.Tables.NeedBarrier();
        await LinkAsync(offset, length, host);
        return true;
    }

    private async IoTask<bool> IsLinkedAsync(long offset, long host)
    {
        try
        {
            Mapping mapping = await image.MapAsync(offset, 1);
            return mapping.Kind == ClusterKind.Data && mapping.HostOffset == host;
        }
        catch (IOException)
        {
            return true;
        }
    }
}
