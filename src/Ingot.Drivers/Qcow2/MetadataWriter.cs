using Ingot.Block;
using Ingot.Io;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Clusters that lost a reference.</summary>
/// <param name="First">The first one's number.</param>
/// <param name="Count">How many, one after another.</param>
/// <param name="Discard">True when the guest gave the space up and the file below should hear of it.</param>
internal readonly record struct FreedClusters(long First, long Count, bool Discard);

/// <summary>
/// Writes changed tables in an order that keeps the image consistent whenever it stops: reference counts and the refcount table first, then, once they
/// and the data are durable, the L2 and L1 tables that rely on them; references are dropped only when it is durable that nothing names the clusters any
/// more. So a crash leaks clusters but never leaves one in use uncounted, nor shows what a cluster held before. What is written is the state of one
/// moment; changes made meanwhile go with the next round.
/// </summary>
internal sealed class MetadataWriter(HostFile file, ClusterMap map, RefcountTable refcounts, ClusterAllocator allocator, HeaderFields header)
{
    private const int Parallel = 32;
    private const int MaxFreed = 16384;

    private readonly LoopMutex _mutex = new();
    private List<FreedClusters> _freed = [];
    private long _pendingFrees;
    private bool _needsBarrier;
    private int _rounds; // that wrote entries
    private int _durableRounds;

    /// <summary>True when the image is marked dirty while it is in use: counts are made anew after a power cut, so their order does not matter.</summary>
    internal bool IsMarkedDirty { get; init; }

    /// <summary>True when, moreover, counts are not written before the image is closed.</summary>
    internal bool IsLazy { get; init; }

    /// <summary>The external data file, which must have what tables say of it.</summary>
    internal HostFile? DataFile { get; set; }

    /// <summary>Called for ranges of the file that are free now; null to keep the space.</summary>
    internal Func<long, long, IoTask>? Discard { get; set; }

    /// <summary>True while making a write durable takes more than that write: entries that lead to it are not written, or not durable.</summary>
    internal bool IsDurabilityOpen => IsDirty || _durableRounds != _rounds;

    /// <summary>True while a flush must do more than flush the file.</summary>
    internal bool IsDirty => _mutex.IsHeld || map.Tables.DirtyCount > 0 || map.L1.IsDirty || header.IsMapDirty || _freed.Count > 0
        || (!IsLazy && (refcounts.Blocks.DirtyCount > 0 || refcounts.Table.IsDirty || header.IsRefcountTableDirty));

    /// <summary>True while the file does not have all L2 and L1 entries, so that killing the process would lose completed writes.</summary>
    internal bool IsMapUnpublished => _mutex.IsHeld || map.Tables.DirtyCount > 0 || map.L1.IsDirty || header.IsMapDirty;

    /// <summary>Clusters that were given up since the last round, and that become free with the next one.</summary>
    internal long PendingFrees => _pendingFrees;

    /// <summary>True when writers should have tables written before they change more.</summary>
    internal bool IsUrgent => map.Tables.WantsWriteBack || refcounts.Blocks.WantsWriteBack || _freed.Count > MaxFreed;

    /// <summary>
    /// Says that entries changed now lead to something in the file that must be durable before they are: a crash may not show what lies there now.
    /// </summary>
    internal void NeedBarrier() => _needsBarrier = true;

    /// <summary>Makes all that is in the file durable.</summary>
    internal async IoTask FlushAsync()
    {
        // What a round writes meanwhile may come too late for this flush.
        int rounds = _mutex.IsHeld ? _durableRounds : _rounds;
        await file.FlushAsync();
        _durableRounds = Math.Max(_durableRounds, rounds);
    }

    /// <summary>Drops a reference of clusters in the next round, after the tables that named them.</summary>
    internal void Free(long first, long count, bool discard)
    {
        _pendingFrees += count;
        if (_freed.Count > 0 && _freed[^1] is { } last && last.Discard == discard && last.First + last.Count == first)
        {
            _freed[^1] = last with { Count = last.Count + count };
            return;
        }

        _freed.Add(new FreedClusters(first, count, discard));
    }

    /// <summary>Writes all tables as they are now. Durable after a flush of the file.</summary>
    /// <param name="withCounts">True to write reference counts even when they are lazy.</param>
    internal async IoTask WriteAsync(bool withCounts = false)
    {
        await _mutex.LockAsync();
        try
        {
            await WriteRoundAsync(withCounts || !IsLazy || refcounts.Blocks.WantsWriteBack || header.IsRefcountTableDirty);
        }
        finally
        {
            _mutex.Unlock();
        }
    }

    /// <summary>Writes tables until the file has every entry made so far. One round serves all who wait for it.</summary>
    internal async IoTask PublishAsync()
    {
        await _mutex.LockAsync();
        try
        {
            if (map.Tables.DirtyCount > 0 || map.L1.IsDirty || header.IsMapDirty)
            {
                await WriteRoundAsync(!IsLazy || refcounts.Blocks.WantsWriteBack || header.IsRefcountTableDirty);
            }
        }
        finally
        {
            _mutex.Unlock();
        }
    }

    /// <summary>True when counts wait for being written, those that are lazy included.</summary>
    internal bool HasUnwrittenCounts => refcounts.Blocks.DirtyCount > 0 || refcounts.Table.IsDirty || header.IsRefcountTableDirty;

    /// <summary>Writes the counts alone; for when nothing else can be.</summary>
    internal async IoTask WriteCountsAsync()
    {
        await _mutex.LockAsync();
        try
        {
            var round = new Round(map, refcounts, header, counts: true, tables: false);
            try
            {
                await round.WriteCountsAsync(file);
            }
            catch
            {
                round.PutBack();
                throw;
            }
        }
        finally
        {
            _mutex.Unlock();
        }
    }

    /// <summary>Writes everything, counts included, until nothing is left: freed clusters change counts once more.</summary>
    internal async IoTask WriteAllAsync()
    {
        await WriteAsync(withCounts: true);
        await WriteAsync(withCounts: true);
    }

    private async IoTask WriteRoundAsync(bool counts)
    {
        // One moment: no await until everything that belongs together has been taken.
        var round = new Round(map, refcounts, header, counts) { Freed = _freed };
        bool needsBarrier = _needsBarrier;
        _freed = [];
        _pendingFrees = 0;
        _needsBarrier = false;
        try
        {
            needsBarrier |= await round.WriteCountsAsync(file) && !IsMarkedDirty;
            if (needsBarrier && round.HasMap)
            {
                await FlushAllAsync();
                needsBarrier = false;
            }

            _rounds += round.HasMap ? 1 : 0;
            await round.WriteMapAsync(file);
            _needsBarrier |= needsBarrier;
            if (round.Freed.Count > 0)
            {
                // Whoever gets the clusters must not be named by entries of their last owner.
                await file.FlushAsync();
                List<FreedClusters> freed = round.Freed;
                round.Freed = [];
                await allocator.DropAsync(freed, Discard);
            }
        }
        catch
        {
            _needsBarrier |= needsBarrier;
            round.PutBack();
            _freed.InsertRange(0, round.Freed);
            throw;
        }
    }

    private async IoTask FlushAllAsync()
    {
        if (DataFile is not null)
        {
            await DataFile.FlushAsync();
        }

        await file.FlushAsync();
    }

    /// <summary>The tables that one round writes.</summary>
    private sealed class Round(ClusterMap map, RefcountTable refcounts, HeaderFields header, bool counts, bool tables = true)
    {
        private readonly PagedTable _l1 = map.L1;
        private readonly PagedTable _table = refcounts.Table;
        private byte[]? _tableFields = counts ? header.TakeRefcountTable() : null;
        private byte[]? _mapFields = tables ? header.TakeMap() : null;
        private List<CachedTable> _countPieces = counts ? refcounts.Blocks.BeginWriting() : [];
        private List<(long Offset, byte[] Bytes)> _tableParts = counts ? refcounts.Table.TakeDirty() : [];
        private List<CachedTable> _mapPieces = tables ? map.Tables.BeginWriting() : [];
        private List<(long Offset, byte[] Bytes)> _l1Parts = tables ? map.L1.TakeDirty() : [];

        internal List<FreedClusters> Freed { get; set; } = [];

        internal bool HasMap => _mapPieces.Count > 0 || _l1Parts.Count > 0 || _mapFields is not null;

        /// <returns>True when something was written that is not durable.</returns>
        internal async IoTask<bool> WriteCountsAsync(HostFile file)
        {
            if (_countPieces.Count == 0 && _tableParts.Count == 0 && _tableFields is null)
            {
                return false;
            }

            if (_tableParts.Count > 0)
            {
                file.Signal(_tableFields is null ? BlockEvents.WriteNewRefcounts : BlockEvents.WriteTableRefcounts);
            }

            await WritePiecesAsync(file, _countPieces, BlockEvents.UpdateRefcounts);
            refcounts.Blocks.EndWriting(_countPieces, written: true);
            _countPieces = [];
            if (_tableParts.Count > 0)
            {
                // A block counts itself, so it must be there before the table names it.
                await file.FlushAsync();
                await WritePartsAsync(file, _tableParts, _tableFields is null ? BlockEvents.HookUpRefcounts : BlockEvents.WriteNewRefcountTable);
                _tableParts = [];
            }

            if (_tableFields is not null)
            {
                // The header must not name the new table before it is there, nor may anything rely on counts that only the new one has.
                await file.FlushAsync();
                file.Signal(BlockEvents.SwitchRefcountTable);
                await file.WriteBytesAsync(RefcountTableField, _tableFields);
                _tableFields = null;
            }

            return true;
        }

        internal async IoTask WriteMapAsync(HostFile file)
        {
            await WritePiecesAsync(file, _mapPieces, BlockEvents.UpdateL2);
            map.Tables.EndWriting(_mapPieces, written: true);
            _mapPieces = [];
            await WritePartsAsync(file, _l1Parts, _mapFields is null ? BlockEvents.UpdateL1 : BlockEvents.WriteNewL1);
            _l1Parts = [];
            if (_mapFields is not null)
            {
                await file.FlushAsync();
                file.Signal(BlockEvents.SwitchL1);
                await file.WriteBytesAsync(SizeField, _mapFields);
                _mapFields = null;
            }
        }

        internal void PutBack()
        {
            refcounts.Blocks.EndWriting(_countPieces, written: false);
            _table.PutBack(_tableParts);
            map.Tables.EndWriting(_mapPieces, written: false);
            _l1.PutBack(_l1Parts);
            header.PutBack(_tableFields, _mapFields);
        }

        private static async IoTask WritePartsAsync(HostFile file, List<(long Offset, byte[] Bytes)> parts, string eventName)
        {
            foreach ((long offset, byte[] bytes) in parts)
            {
                file.Signal(eventName);
                await file.WriteBytesAsync(offset, bytes);
            }
        }

        private static async IoTask WritePiecesAsync(HostFile file, List<CachedTable> pieces, string eventName)
        {
            var batch = new TaskBatch(Parallel);
            foreach (CachedTable piece in pieces)
            {
                if (batch.IsFull)
                {
                    await batch.WaitOneAsync();
                }

                file.Signal(eventName);
                batch.Add(file.WriteAsync(piece.Offset, piece.WritingData));
            }

            await batch.WaitAllAsync();
        }
    }
}
