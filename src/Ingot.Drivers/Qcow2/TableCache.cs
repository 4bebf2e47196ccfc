using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>One cached piece of a table on disk.</summary>
internal sealed class CachedTable
{
    internal long Offset;
    internal SlicePool.Slice Slice;
    internal bool IsDirty;
    internal bool IsLoading;
    internal TableUse Use;
    internal int Index; // in the list that the clock hand goes around

    // While a version of the piece is being written, a change gets a copy of its own: what goes to disk is the state of one moment.
    internal SlicePool.Slice Writing;
    internal bool IsWriting;
    internal bool HasOwnCopy;
    internal List<IoCompletionSource>? Waiters;

    internal IoVector Data => Slice.Data;

    internal IoVector WritingData => Writing.Data;

    internal ReadOnlySpan<byte> Bytes => Data.SingleSpan;
}

/// <summary>Since when a piece was asked for.</summary>
[Flags]
internal enum TableUse : byte
{
    /// <summary>Not lately.</summary>
    None = 0,

    /// <summary>Since the clock hand came by.</summary>
    SinceClock = 1,

    /// <summary>Since the cache was cleaned.</summary>
    SinceCleaning = 2,

    /// <summary>Just now.</summary>
    Now = SinceClock | SinceCleaning,
}

/// <summary>
/// Cache of L2 table or refcount block pieces, all of one length. Clean pieces are replaced by a clock; dirty ones stay until <see cref="MetadataWriter"/>
/// has written them, so the cache may go over its capacity for a moment; writers ask <see cref="WantsWriteBack"/> before they make more.
/// </summary>
internal sealed class TableCache(HostFile file, int sliceLength, int capacity)
{
    private const int MinLength = 64 << 10;
    private const int MinCapacity = 2;

    private readonly Dictionary<long, CachedTable> _tables = [];
    private readonly List<CachedTable> _clock = [];
    private readonly SlicePool _slices = new(sliceLength);
    private readonly int _capacity = Math.Max(Math.Max(MinCapacity, MinLength / sliceLength), capacity);
    private List<CachedTable> _dirty = [];
    private int _hand;
    private CachedTable? _last;

    /// <summary>What reading a piece is called for those who debug.</summary>
    internal string? LoadEvent { get; init; }

    internal int DirtyCount => _dirty.Count;

    /// <summary>True when dirty pieces begin to crowd out clean ones.</summary>
    internal bool WantsWriteBack => _dirty.Count > _capacity / 2;

    internal int Count => _clock.Count;

    /// <summary>Bytes of a piece.</summary>
    internal int SliceLength => sliceLength;

    /// <summary>Told when something was brought in.</summary>
    internal Action? Filled { get; set; }

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

        table.Use = TableUse.Now;
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
            SlicePool.Slice copy = _slices.Rent();
            copy.Data.CopyFrom(table.Data);
            table.Slice = copy;
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
            table.Writing = table.Slice;
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
                _slices.Return(table.Writing);
                table.HasOwnCopy = false;
            }

            table.Writing = default;
            if (!written && !table.IsDirty)
            {
                table.IsDirty = true;
                _dirty.Add(table);
            }
        }

        Shrink();
    }

    /// <summary>Forgets what nobody has asked for since the last time, but for changes, and gives its memory back.</summary>
    internal void Clean()
    {
        for (int i = _clock.Count - 1; i >= 0; i--)
        {
            CachedTable table = _clock[i];
            if ((table.Use & TableUse.SinceCleaning) == 0 && !table.IsDirty && !table.IsLoading && !table.IsWriting)
            {
                Remove(table);
            }

            table.Use &= ~TableUse.SinceCleaning;
        }

        _slices.Trim();
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
        _last = null;
        _slices.Free();
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
            table = new CachedTable { Index = _clock.Count, Slice = _slices.Rent() };
            _clock.Add(table);
        }
        else
        {
            Unlist(table);
        }

        table.Offset = offset;
        table.Use = TableUse.Now;
        _tables.Add(offset, table);
        Filled?.Invoke();
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

            if ((table.Use & TableUse.SinceClock) == 0)
            {
                return table;
            }

            table.Use &= ~TableUse.SinceClock;
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
        _slices.Return(table.Slice);
        table.Slice = default;
    }
}
