using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>One cached piece of a table on disk.</summary>
internal sealed class CachedTable
{
    internal long Offset;
    internal IoVector Data;
    internal bool IsDirty;
    internal bool IsLoading;
    internal bool WasUsed;
    internal int Index; // in the list that the clock hand goes around

    // While a version of the piece is being written, a change gets a copy of its own: what goes to disk is the state of one moment.
    internal IoVector WritingData;
    internal bool IsWriting;
    internal bool HasOwnCopy;
    internal List<IoCompletionSource>? Waiters;

    internal ReadOnlySpan<byte> Bytes => Data.SingleSpan;
}

/// <summary>
/// Cache of L2 table or refcount block pieces, all of one length. Clean pieces are replaced by a clock; dirty ones stay until <see cref="MetadataWriter"/>
/// has written them, so the cache may go over its capacity for a moment; writers ask <see cref="WantsWriteBack"/> before they make more.
/// </summary>
internal sealed class TableCache(HostFile file, int sliceLength, int capacity)
{
    private const int SlabLength = 256 << 10;
    private const int MinCapacity = 16;

    private readonly Dictionary<long, CachedTable> _tables = [];
    private readonly List<CachedTable> _clock = [];
    private readonly List<IoBuffer> _slabs = [];
    private readonly Stack<IoVector> _free = new();
    private readonly int _capacity = Math.Max(MinCapacity, capacity);
    private List<CachedTable> _dirty = [];
    private int _hand;
    private CachedTable? _last;

    /// <summary>What reading a piece is called for those who debug.</summary>
    internal string? LoadEvent { get; init; }

    internal int DirtyCount => _dirty.Count;

    /// <summary>True when dirty pieces begin to crowd out clean ones.</summary>
    internal bool WantsWriteBack => _dirty.Count > _capacity / 2;

    internal int Count => _clock.Count;

    /// <summary>The piece at an offset, or null when it must be loaded.</summary>
    internal CachedTable? Find(long offset)
    {
        CachedTable? table = _last;
        if (table is null || table.Offset != offset)
        {
            if (!_tables.TryGetValue(offset, out table))
            {
                return null;
            }

            if (!table.IsLoading)
            {
                _last = table;
            }
        }

        table.WasUsed = true;
        return table.IsLoading ? null : table;
    }

    /// <summary>Brings a piece in. Look it up again afterwards: when memory is short, it may be gone before the caller runs.</summary>
    internal async IoTask LoadAsync(long offset)
    {
        if (_tables.TryGetValue(offset, out CachedTable? table))
        {
            if (table.IsLoading)
            {
                var waiter = new IoCompletionSource();
                (table.Waiters ??= []).Add(waiter);
                await waiter.Task;
            }

            return;
        }

        table = Claim(offset);
        table.IsLoading = true;
        try
        {
            if (LoadEvent is not null)
            {
                file.Signal(LoadEvent);
            }

            await file.ReadAsync(offset, table.Data);
        }
        catch (Exception e)
        {
            Remove(table);
            Wake(table, e);
            throw;
        }

        table.IsLoading = false;
        Wake(table, null);
    }

    /// <summary>Brings in a piece of a new table that the file has as zeroes already.</summary>
    internal void AddClean(long offset)
    {
        if (!_tables.ContainsKey(offset))
        {
            Claim(offset).Data.Clear();
        }
    }

    /// <summary>Brings in a piece of a new table, as zeroes and to be written, without reading what lies there.</summary>
    internal CachedTable AddZeroed(long offset)
    {
        if (_tables.TryGetValue(offset, out CachedTable? table) && table.IsLoading)
        {
            throw new InvalidOperationException("A new table is being read.");
        }

        table ??= Claim(offset);
        Change(table).Clear();
        return table;
    }

    /// <summary>The bytes of a loaded piece, for changing them; the change is written back later.</summary>
    internal Span<byte> Change(CachedTable table)
    {
        if (table.IsWriting && !table.HasOwnCopy)
        {
            IoVector copy = TakeSlice();
            copy.CopyFrom(table.Data);
            table.Data = copy;
            table.HasOwnCopy = true;
        }

        if (!table.IsDirty)
        {
            table.IsDirty = true;
            _dirty.Add(table);
        }

        return table.Data.SingleSpan;
    }

    /// <summary>Forgets pieces of clusters that no longer hold tables.</summary>
    internal void Forget(long offset, long length)
    {
        for (long at = offset; at < offset + length; at += sliceLength)
        {
            if (_tables.TryGetValue(at, out CachedTable? table) && !table.IsLoading && !table.IsWriting)
            {
                if (table.IsDirty)
                {
                    _dirty.Remove(table);
                    table.IsDirty = false;
                }

                Remove(table);
            }
        }
    }

    /// <summary>Takes all dirty pieces as they are now; write each one's WritingData, then call <see cref="EndWriting"/>.</summary>
    internal List<CachedTable> BeginWriting()
    {
        List<CachedTable> batch = _dirty;
        _dirty = [];
        foreach (CachedTable table in batch)
        {
            table.IsDirty = false;
            table.IsWriting = true;
            table.HasOwnCopy = false;
            table.WritingData = table.Data;
        }

        return batch;
    }

    /// <summary>Ends <see cref="BeginWriting"/>.</summary>
    /// <param name="batch">What it gave.</param>
    /// <param name="written">False to keep the pieces dirty.</param>
    internal void EndWriting(List<CachedTable> batch, bool written)
    {
        foreach (CachedTable table in batch)
        {
            table.IsWriting = false;
            if (table.HasOwnCopy)
            {
                _free.Push(table.WritingData);
                table.HasOwnCopy = false;
            }

            table.WritingData = default;
            if (!written && !table.IsDirty)
            {
                table.IsDirty = true;
                _dirty.Add(table);
            }
        }

        Shrink();
    }

    /// <summary>Forgets everything, changes included; nothing may be loading or being written.</summary>
    internal void Clear()
    {
        while (_clock.Count > 0)
        {
            _clock[^1].IsDirty = false;
            Remove(_clock[^1]);
        }

        _dirty.Clear();
    }

    /// <summary>Frees the memory; nothing may be in use.</summary>
    internal void Free()
    {
        _tables.Clear();
        _clock.Clear();
        _dirty.Clear();
        _free.Clear();
        _last = null;
        foreach (IoBuffer slab in _slabs)
        {
            slab.Dispose();
        }

        _slabs.Clear();
    }

    private static void Wake(CachedTable table, Exception? error)
    {
        List<IoCompletionSource>? waiters = table.Waiters;
        table.Waiters = null;
        foreach (IoCompletionSource waiter in waiters ?? [])
        {
            if (error is null)
            {
                // After the one who loaded the piece: requests that wait for the same one allocate in the order in which they came.
                waiter.SetResultLater();
            }
            else
            {
                waiter.SetException(error);
            }
        }
    }

    private CachedTable Claim(long offset)
    {
        CachedTable? table = _clock.Count < _capacity ? null : FindVictim();
        if (table is null)
        {
            table = new CachedTable { Index = _clock.Count, Data = TakeSlice() };
            _clock.Add(table);
        }
        else
        {
            Unlist(table);
        }

        table.Offset = offset;
        table.WasUsed = true;
        _tables.Add(offset, table);
        return table;
    }

    private CachedTable? FindVictim()
    {
        for (int steps = 2 * _clock.Count; steps > 0; steps--)
        {
            _hand = _hand + 1 < _clock.Count ? _hand + 1 : 0;
            CachedTable table = _clock[_hand];
            if (table.IsDirty || table.IsLoading || table.IsWriting)
            {
                continue;
            }

            if (!table.WasUsed)
            {
                return table;
            }

            table.WasUsed = false;
        }

        return null;
    }

    // Gives up what the cache has over its capacity.
    private void Shrink()
    {
        while (_clock.Count > _capacity && FindVictim() is { } table)
        {
            Remove(table);
        }
    }

    private void Unlist(CachedTable table)
    {
        _tables.Remove(table.Offset);
        if (_last == table)
        {
            _last = null;
        }
    }

    private void Remove(CachedTable table)
    {
        Unlist(table);
        CachedTable moved = _clock[^1];
        _clock[table.Index] = moved;
        moved.Index = table.Index;
        _clock.RemoveAt(_clock.Count - 1);
        _free.Push(table.Data);
        table.Data = default;
    }

    private IoVector TakeSlice()
    {
        if (_free.TryPop(out IoVector slice))
        {
            return slice;
        }

        // The first slab is small: most images that are opened are looked at once.
        var slab = new IoBuffer(Math.Max(sliceLength, _slabs.Count == 0 ? SlabLength / 8 : SlabLength));
        _slabs.Add(slab);
        for (int offset = slab.Length - sliceLength; offset > 0; offset -= sliceLength)
        {
            _free.Push(slab.Slice(offset, sliceLength));
        }

        return slab.Slice(0, sliceLength);
    }
}
