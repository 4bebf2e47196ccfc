using Ingot.Block;
using Ingot.Drivers.Crypto;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>An open image: its parts, and what concerns all of them (first write, flush, corruption, closing).</summary>
internal sealed class Qcow2Image
{
    private readonly LoopMutex _firstWriteMutex = new();
    private readonly Qcow2Options _options;
    private readonly OverlapGuard _guard;
    private bool _isPrepared;

    // Clusters that were given up can be used again only after a flush. Doing that on purpose keeps files dense; each time it takes twice as many to be worth it.
    private long _reclaimFrom = 1;

    private Qcow2Image(HostFile file, Qcow2Header header, OpenFlags flags, Qcow2Options options, PagedTable l1, PagedTable refcountTable, SnapshotTable snapshots)
    {
        File = file;
        Data = file;
        Geometry = header.Geometry;
        Header = new HeaderFields(file, header);
        Flags = flags;
        Snapshots = snapshots;
        _options = options;
        Corruption = new ImageCorruption(this);
        L2Tables = new L2Tables(this);
        Bitmaps = new Qcow2Bitmaps(this);
        Preallocation = new PreallocationProbe(this);
        Content = new ClusterContent(this);
        _guard = new OverlapGuard(this, options.OverlapCheck);
        (long l2Bytes, long refcountBytes) = options.CacheSizes(Geometry, header, flags);
        TableCache l2Cache = NewL2Cache(l2Bytes);
        var refcountCache = new TableCache(file, Geometry.SliceLength, Capacity(refcountBytes, Geometry.SliceLength));
        Cleaner = new CacheCleaner(options.CacheCleanInterval, l2Cache, refcountCache);
        l2Cache.Filled = refcountCache.Filled = Cleaner.Start;
        Map = new ClusterMap(Geometry, file, l2Cache, l1);
        Refcounts = new RefcountTable(Geometry, refcountCache, refcountTable) { Corrupt = Corruption.RefuseAsync };
        Allocator = new ClusterAllocator(Geometry, file, Refcounts) { MayUse = IsDataRange, Refuse = RefuseAllocationAsync };
        bool isLazy = header.Version >= 3 && (options.LazyRefcounts ?? header.LazyRefcounts);
        Tables = new MetadataWriter(file, Map, Refcounts, Allocator, Header)
        {
            IsMarkedDirty = header.Version >= 3 && (options.PublishMetadata || isLazy),
            IsLazy = isLazy,
            Discard = options.PassDiscardRequest ? file.DiscardAsync : null,
        };
        Allocator.Growth.Retired = (first, count) =>
        {
            Header.MoveRefcountTable(Refcounts.Table.Offset, (int)Geometry.ClustersFor(Refcounts.Table.Count * 8L));
            Tables.Free(first, count, discard: false);
        };
    }

    internal HostFile File { get; }

    /// <summary>Where guest data lies: the image file, or the external data file.</summary>
    internal HostFile Data { get; private set; }

    /// <summary>Guest data where it lies.</summary>
    internal ClusterContent Content { get; }

    /// <summary>The way to what is stored encrypted; null for an image that is not.</summary>
    internal Qcow2Encryption? Encryption { get; set; }

    /// <summary>The id of the secret that the user gave for an encrypted image.</summary>
    internal string? KeySecret { get; set; }

    /// <summary>The LUKS header of an image that has one.</summary>
    internal LuksHeader? LuksHeader { get; set; }

    internal Qcow2Geometry Geometry { get; }

    internal HeaderFields Header { get; }

    internal ClusterMap Map { get; }

    internal RefcountTable Refcounts { get; }

    /// <summary>Keeps the caches of tables small.</summary>
    internal CacheCleaner Cleaner { get; }

    internal ClusterAllocator Allocator { get; }

    internal MetadataWriter Tables { get; }

    internal SnapshotTable Snapshots { get; set; }

    internal Qcow2Bitmaps Bitmaps { get; }

    internal PreallocationProbe Preallocation { get; }

    /// <summary>True while counts and flags are between two states; an image that is closed so is repaired when it is opened next.</summary>
    internal bool IsBetweenStates { get; set; }

    /// <summary>Guest ranges in which clusters are being allocated or given up.</summary>
    internal RangeLock Locks { get; } = new();

    /// <summary>What unallocated clusters read as; null for zeroes.</summary>
    internal ChildNode? Backing { get; set; }

    internal OpenFlags Flags { get; }

    internal bool IsWritable => (Flags & OpenFlags.ReadWrite) != 0;

    /// <summary>True once the image is prepared for changes; before, even a write in place must take the slow path.</summary>
    internal bool IsModified => _isPrepared && !Corruption.IsDead;

    internal ImageCorruption Corruption { get; }

    /// <summary>Which L2 tables there are.</summary>
    internal L2Tables L2Tables { get; }

    /// <summary>Tells an operator of corruption.</summary>
    internal Action<string>? Warn { get; init; }

    /// <summary>Tells an operator of a failure beside the one that is thrown.</summary>
    internal Action<string>? Report { get; init; }

    internal long Length => Header.Current.Size;

    /// <summary>Where the guest offsets begin that a virtual machine's state is kept at, behind those of the disk.</summary>
    internal long VmStateStart => Geometry.L1EntriesFor(Length) << Geometry.L1Shift;

    /// <summary>How much of a range is content: what lies behind the end of the disk in its last clusters is not.</summary>
    internal long ClampToContent(long offset, long length) => offset >= VmStateStart ? length : Math.Clamp(Length - offset, 0, length);

    /// <summary>Whether table entries must be in the file before a write completes.</summary>
    internal bool PublishesMetadata => _options.PublishMetadata;

    /// <summary>Opens an image without its backing file.</summary>
    internal static async IoTask<Qcow2Image> OpenAsync(ChildNode child, OpenFlags flags, Qcow2Options options, Action<string>? warn = null, Action<string>? report = null)
    {
        var file = new HostFile(child);
        Qcow2Header header = await ReadHeaderAsync(file);
        header.RefuseUnsupported(file.FileName);
        options.CheckFor(header.Geometry, header.Size);
        bool writable = (flags & OpenFlags.ReadWrite) != 0;
        bool checks = (flags & OpenFlags.Check) != 0;
        if (writable && header.IsCorrupt && !checks)
        {
            throw new ErrnoException(Errno.EACCES, "qcow2: Image is corrupt; cannot be opened read/write");
        }

        if (options.LazyRefcounts == true && header.Version < 3)
        {
            throw new OptionException("Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
        }

        if (header.L1Offset + (header.L1Entries * 8L) > file.Length && !checks)
        {
            throw new ImageFormatException($"Image '{file.FileName}' is truncated: its L1 table ends at {header.L1Offset + (header.L1Entries * 8L)}, the file at {file.Length}");
        }

        UntrustedImage.LimitTable(flags, file.FileName, "L1 table", header.L1Entries * 8L);
        PagedTable l1 = await PagedTable.ReadAsync(file, header.L1Offset, header.L1Entries);
        UntrustedTables.RefuseSharedL2(checks ? OpenFlags.None : flags, file.FileName, l1);
        file.Signal(BlockEvents.LoadRefcountTable);
        PagedTable refcounts = await PagedTable.ReadAsync(file, header.RefcountTableOffset, writable || checks ? RefcountEntries(header) : 0);

        // A check reads the table itself, because it may have to repair it.
        SnapshotTable snapshots = checks ? SnapshotTable.Empty
            : header.SnapshotCount <= MaxSnapshots ? await new SnapshotTableReader(file, header).ReadAsync(header.SnapshotCount)
            : throw new ErrnoException(Errno.EFBIG, "Snapshot table too large");
        UntrustedImage.LimitTable(flags, file.FileName, "snapshot table", snapshots.Length);
        return new Qcow2Image(file, header, flags, options, l1, refcounts, snapshots) { Warn = warn, Report = report };
    }

    /// <summary>Brings in the refcount table of an image that is only read, which needs it for a few questions alone.</summary>
    internal async IoTask LoadRefcountTableAsync()
    {
        if (Refcounts.Table.Count == 0)
        {
            Refcounts.Table = await PagedTable.ReadAsync(File, Header.Current.RefcountTableOffset, RefcountEntries(Header.Current));
        }
    }

    /// <summary>Whether a part of the file may be written: no metadata that is guarded lies there.</summary>
    internal bool IsDataRange(long hostOffset, long length) => Geometry.HasDataFile || _guard.IsFree(hostOffset, length);

    /// <summary>Clears autoclear bits that are not known here: what they vouch for is not kept up to date by writes to come.</summary>
    internal IoTask ClearUnknownFeaturesAsync()
        => Header.ChangeFeaturesAsync(Header.Current.Incompatible, Header.Current.Compatible, Header.Current.Autoclear & (AutoclearRawDataFile | AutoclearBitmaps));

    /// <summary>Must come before every change: prepares the image at the first one, and keeps changed tables from piling up.</summary>
    internal IoTask BeginChangeAsync() => IsModified && !Tables.IsUrgent && !_guard.IsStale ? IoTask.Completed : BeginChangeSlowAsync();

    /// <summary>Makes completed writes durable.</summary>
    internal IoTask FlushAsync()
    {
        File.Signal(BlockEvents.FlushTables);
        if (Tables.IsDirty || Geometry.HasDataFile)
        {
            return FlushSlowAsync();
        }

        File.Signal(BlockEvents.Flush);
        return Tables.FlushAsync();
    }

    /// <summary>Whether what the guest discards is given back to the file system.</summary>
    internal bool PassesDiscards => _options.PassDiscardRequest;

    /// <summary>Gives the image its data file.</summary>
    internal void AttachDataFile(ChildNode child)
    {
        Data = new HostFile(child);
        Tables.DataFile = Data;
    }

    /// <summary>Places for neighbouring clusters of the guest; in a data file every cluster has its own.</summary>
    internal async IoTask<ClusterRun> AllocateDataAsync(long offset, long count)
    {
        ClusterRun run = Geometry.HasDataFile ? new ClusterRun(Geometry.ClusterOf(offset), count, offset >= Data.Length)
            : await (Tables.PendingFrees >= _reclaimFrom ? ReclaimAsync(count) : Allocator.AllocateAsync(count));

        // Zeroes in the file are no zeroes once they are decrypted.
        return Encryption is null ? run : run with { IsFresh = false };
    }

    /// <summary>Gives back what <see cref="AllocateDataAsync"/> gave but nothing names.</summary>
    internal IoTask UndoDataAsync(ClusterRun run) => Geometry.HasDataFile ? IoTask.Completed : Allocator.UndoAsync(run);

    /// <summary>Another map of an image that is only read, for another loop.</summary>
    internal ClusterMap NewMap()
    {
        TableCache tables = NewL2Cache(_options.CacheSizes(Geometry, Header.Current, Flags).L2);
        var cleaner = new CacheCleaner(_options.CacheCleanInterval, tables);
        tables.Filled = cleaner.Start;
        return new ClusterMap(Geometry, File, tables, Map.L1) { Cleaner = cleaner };
    }

    /// <summary>Waits for the table piece that a mapping needs, and maps.</summary>
    /// <exception cref="ErrnoException">The tables are corrupt.</exception>
    internal IoTask<Mapping> MapAsync(long offset, long length, bool isForWriting = false) => MapAsync(Map, offset, length, isForWriting);

    /// <summary>Waits for the table piece that a mapping needs, and maps.</summary>
    /// <exception cref="ErrnoException">The tables are corrupt.</exception>
    internal async IoTask<Mapping> MapAsync(ClusterMap map, long offset, long length, bool isForWriting = false)
    {
        Mapping mapping;
        while (!map.TryMap(offset, length, out mapping))
        {
            await map.LoadAsync(offset);
        }

        return mapping.Kind == ClusterKind.Corrupt ? throw await Corruption.RefuseAsync(map.DescribeCorruption(offset, mapping, isForWriting)) : mapping;
    }

    /// <summary>Drops the reference that an L2 entry held.</summary>
    internal void FreeEntry(ulong entry, bool discard)
    {
        switch (Map.KindOf(entry))
        {
            case ClusterKind.Data or ClusterKind.ZeroAllocated when Geometry.HasDataFile:
                break;
            case ClusterKind.Data or ClusterKind.ZeroAllocated:
                Tables.Free(Geometry.ClusterOf((long)(entry & OffsetMask)), 1, discard);
                break;
            case ClusterKind.Corrupt:
                Corruption.Warn($"Cannot free unaligned cluster 0x{entry & OffsetMask:x}");
                break;
            case ClusterKind.Compressed:
                long offset = Geometry.CompressedOffset(entry);
                long first = Geometry.ClusterOf(offset);
                Tables.Free(first, Geometry.ClusterOf(offset + Geometry.CompressedLength(entry) - 1) - first + 1, discard: false);
                break;
        }
    }

    /// <summary>The exception for a write that would hit metadata.</summary>
    internal IoTask<ErrnoException> OverlapAsync(long offset, long length)
        => Corruption.RefuseAsync($"Preventing invalid write on metadata (overlaps with {_guard.Describe(offset, length)})");

    /// <summary>Writes everything, marks the image clean and closes the children.</summary>
    internal async IoTask CloseAsync()
    {
        Cleaner.Stop();
        try
        {
            if (IsModified && HasUnsaved)
            {
                await SaveAsync();
                await Header.ChangeFeaturesAsync(Header.Current.Incompatible & ~(IsBetweenStates ? 0 : IncompatibleFeatures.Dirty), Header.Current.Compatible, Header.Current.Autoclear);
            }
        }
        finally
        {
            Encryption?.Close();
            Map.Tables.Free();
            Refcounts.Blocks.Free();
            await File.CloseAsync();
            if (Data != File)
            {
                await Data.CloseAsync();
            }

            if (Backing is { } backing)
            {
                await backing.CloseAsync();
            }
        }
    }

    private bool HasUnsaved => File.WasWritten || Data.WasWritten || Tables.IsDirty || Tables.HasUnwrittenCounts || Bitmaps.MustStore;

    private async IoTask SaveAsync()
    {
        try
        {
            await Data.FlushAsync();
            await Tables.WriteAllAsync();
            await Bitmaps.StoreAsync();
            await Tables.WriteAllAsync();
            await File.FlushAsync();
        }
        catch (ErrnoException e)
        {
            string what = e is BitmapStoreException ? "Lost persistent bitmaps" : "Failed to flush the L2 table cache";
            var failure = new ErrnoException(e.Errno, $"{what}: {e.Message}", e);
            await SaveCountsAsync(failure);
            throw failure;
        }
    }

    // Counts that are too high harm less than ones that are too low.
    private async IoTask SaveCountsAsync(ErrnoException failure)
    {
        try
        {
            await Tables.WriteCountsAsync();
            await File.FlushAsync();
        }
        catch (ErrnoException e)
        {
            Report?.Invoke(failure.Message);
            throw new ErrnoException(e.Errno, $"Failed to flush the refcount block cache: {e.Message}", e);
        }
    }

    /// <summary>Cuts off the end of the file that nothing uses.</summary>
    internal async IoTask TrimFileAsync()
    {
        long used = await Allocator.FindUsedLengthAsync();
        if (used < File.Length && (File.Node.Features & BlockFeatures.Resize) != 0)
        {
            await File.ResizeAsync(used);
        }
    }

    private TableCache NewL2Cache(long length)
        => new(File, _options.L2SliceLength(Geometry), Capacity(length, _options.L2SliceLength(Geometry))) { LoadEvent = BlockEvents.LoadL2 };

    private static int Capacity(long bytes, int sliceLength) => (int)Math.Min(int.MaxValue, bytes / sliceLength);

    private static int RefcountEntries(Qcow2Header header) => (header.RefcountTableClusters << header.ClusterBits) / 8;

    private static async IoTask<Qcow2Header> ReadHeaderAsync(HostFile file)
    {
        byte[] head = await file.ReadBytesAsync(0, (int)Math.Min(file.Length, Qcow2HeaderReader.FixedLength));
        int cluster = Qcow2HeaderReader.ClusterLength(head, file.FileName);
        return Qcow2HeaderReader.Parse(await file.ReadBytesAsync(0, (int)Math.Min(file.Length, cluster)), file.FileName);
    }

    private async IoTask<ClusterRun> ReclaimAsync(long count)
    {
        _reclaimFrom *= 2;
        await Tables.WriteAsync();
        return await Allocator.AllocateAsync(count);
    }

    private IoTask<ErrnoException> RefuseAllocationAsync(long offset, long length, string what)
        => offset == 0 ? Corruption.RefuseAsync($"Preventing invalid allocation of {what} at offset 0") : OverlapAsync(offset, length);

    private async IoTask BeginChangeSlowAsync()
    {
        if (Corruption.IsDead)
        {
            throw Corruption.DeadError();
        }

        if (!IsModified)
        {
            await _firstWriteMutex.LockAsync();
            try
            {
                await PrepareAsync();
            }
            finally
            {
                _firstWriteMutex.Unlock();
            }
        }

        if (_guard.IsStale)
        {
            await _guard.LoadInactiveAsync();
        }

        if (Tables.IsUrgent)
        {
            await Tables.WriteAsync();
        }
    }

    private async IoTask PrepareAsync()
    {
        if (IsModified)
        {
            return;
        }

        // Bitmaps are kept up to date if there are any. Without barriers counts are only safe under the dirty bit.
        IncompatibleFeatures incompatible = Header.Current.Incompatible | (Tables.IsMarkedDirty ? IncompatibleFeatures.Dirty : 0);
        await Bitmaps.BeginAsync();
        await Header.ChangeFeaturesAsync(incompatible, Header.Current.Compatible, Header.Current.Autoclear & (AutoclearRawDataFile | (Header.Current.HasBitmaps ? AutoclearBitmaps : 0)));
        _isPrepared = true;
    }

    private async IoTask FlushSlowAsync()
    {
        if (Geometry.HasDataFile)
        {
            await Data.FlushAsync();
        }

        await Tables.WriteAsync();
        File.Signal(BlockEvents.Flush);
        await Tables.FlushAsync();
    }
}
