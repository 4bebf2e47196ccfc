using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// A qcow2 image. Requests for clusters that are mapped and allocated pass straight through to the file; everything else (tables to load, clusters to
/// allocate, several runs) is done by coroutines of <see cref="ClusterReader"/>, <see cref="ClusterWriter"/> and <see cref="ClusterEraser"/>.
/// An image that is only read serves reads and extents on any loop.
/// </summary>
public sealed class Qcow2Node : BlockNode, IAmendable
{
    private readonly Qcow2Image _image;
    private readonly ClusterReader _reader;
    private readonly LoopReaders? _loopReaders;
    private readonly ClusterWriter _writer;
    private readonly ClusterEraser _eraser;
    private readonly CompressedWriter _compressor;
    private readonly RangeCopier _copier;
    private readonly Qcow2VmState _vmState;
    private readonly bool _writeThrough;
    private bool _closed;

    internal Qcow2Node(string? nodeName, Qcow2Image image, OpenFlags flags)
        : base(nodeName)
    {
        _image = image;
        image.Cleaner.Home = () => Home;
        _reader = new ClusterReader(image, image.Map);
        _loopReaders = IsForAnyLoop(image) ? new LoopReaders(image, _reader) : null;
        _writer = new ClusterWriter(image, _reader);
        _eraser = new ClusterEraser(image, _reader, _writer);
        _compressor = new CompressedWriter(image, _reader, _writer);
        _copier = new RangeCopier(image, _writer);
        _vmState = new Qcow2VmState(image, _reader, _writer);
        _writeThrough = (flags & OpenFlags.WriteThrough) != 0;
        Limits = new BlockLimits
        {
            OptimalTransfer = image.Geometry.ClusterLength,
            AllocationUnit = image.Geometry.SubclusterLength,
            DiscardAlignment = image.Geometry.ClusterLength,
        };
    }

    /// <inheritdoc/>
    public override string DriverName => "qcow2";

    /// <inheritdoc/>
    public override long Length => _image.Length;

    /// <inheritdoc/>
    public override BlockLimits Limits { get; }

    /// <inheritdoc/>
    public override BlockFeatures Features => BlockFeatures.SupportsBacking
        | (_image.Backing is null ? BlockFeatures.ZeroInitialized : 0)
        | (_image.IsWritable
            ? BlockFeatures.Write | BlockFeatures.Discard | BlockFeatures.Fua | BlockFeatures.Resize | (_image.Geometry.Version >= 3 ? BlockFeatures.FastZero : 0)
            : 0)
        | (_loopReaders is null ? 0 : BlockFeatures.AnyLoop)
        | (_image.Data.Node.Features & BlockFeatures.CopyRange);

    /// <inheritdoc/>
    public override IEnumerable<(string Role, BlockNode Node)> Children
    {
        get
        {
            yield return ("file", _image.File.Node);
            if (_image.Data != _image.File)
            {
                yield return ("data-file", _image.Data.Node);
            }

            if (_image.Backing is { } backing)
            {
                yield return ("backing", backing.Node);
            }
        }
    }

    /// <inheritdoc/>
    public override BlockNode File => _image.File.Node;

    /// <inheritdoc/>
    public override string FileName => _image.KeySecret is not { } secret ? base.FileName
        : $"json:{{\"encrypt.key-secret\": {JsonText.Quote(secret)}, \"driver\": \"qcow2\", \"file\": {JsonText.Describe(File)}}}";

    /// <inheritdoc/>
    public override BlockNode? Backing => _image.Backing?.Node;

    internal Qcow2Image Image => _image;

    /// <summary>Looks for errors in the image's tables.</summary>
    /// <param name="repair">What to repair.</param>
    /// <param name="report">Told of every error in a line of text.</param>
    /// <returns>What was found and repaired.</returns>
    public IoTask<Qcow2CheckResult> CheckAsync(Qcow2Repair repair = Qcow2Repair.None, Action<string>? report = null) => new Qcow2Check(_image, report).RunAsync(repair);

    /// <inheritdoc/>
    public override IoTask CloseAsync()
    {
        if (_closed)
        {
            return IoTask.Completed;
        }

        _closed = true;
        _reader.Free();
        _loopReaders?.Free();
        _compressor.Free();
        return _image.CloseAsync();
    }

    /// <summary>Reads as an internal snapshot from now on. For an image that is open for reading.</summary>
    /// <param name="matches">Whether a snapshot is the one that is meant.</param>
    /// <returns>False when there is none.</returns>
    public async IoTask<bool> TryLoadSnapshotAsync(Func<SnapshotInfo, bool> matches)
    {
        if (_image.Snapshots.Snapshots.FirstOrDefault(s => matches(s.Info)) is not { } snapshot)
        {
            return false;
        }

        // Behind its disk there may be VM state, which is no part of any disk.
        _image.Map.L1 = await snapshot.ReadL1Async(_image, _image.Geometry.L1EntriesFor(Math.Max(0, snapshot.Info.DiskSize)));
        return true;
    }

    /// <summary>Makes an internal snapshot of the disk as it is now. No other request may be in flight.</summary>
    /// <param name="name">Its name; others may have the same.</param>
    /// <param name="date">When it is made.</param>
    /// <param name="vmStateLength">Bytes of VM state that were written before; the snapshot has them from now on.</param>
    public async IoTask CreateSnapshotAsync(string name, DateTimeOffset date, long vmStateLength = 0)
    {
        await new Qcow2Snapshots(_image).CreateAsync(name, date, vmStateLength);
        if (vmStateLength > 0)
        {
            await _eraser.DropAsync(_image.VmStateStart, (long)_image.Map.L1.Count << _image.Geometry.L1Shift);
        }
    }

    /// <summary>Makes the disk what it was when a snapshot was made; the snapshot stays. No other request may be in flight.</summary>
    /// <param name="idOrName">Its id, or else its name.</param>
    public IoTask ApplySnapshotAsync(string idOrName) => new Qcow2Snapshots(_image).ApplyAsync(idOrName);

    /// <summary>Deletes a snapshot. No other request may be in flight.</summary>
    /// <param name="name">Its name; of several the first one goes.</param>
    public IoTask DeleteSnapshotAsync(string name) => new Qcow2Snapshots(_image).DeleteAsync(name);

    /// <summary>Adds a persistent dirty bitmap that records changes from now on.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="granularity">Bytes that a bit stands for; null for the size of a cluster, at least 4 KiB.</param>
    public IoTask AddBitmapAsync(string name, long? granularity = null) => _image.Bitmaps.AddAsync(name, granularity);

    /// <summary>Removes a persistent dirty bitmap, also one that can't be used.</summary>
    /// <param name="name">Its name.</param>
    public IoTask RemoveBitmapAsync(string name) => _image.Bitmaps.RemoveAsync(name);

    /// <summary>Makes a persistent dirty bitmap clean.</summary>
    /// <param name="name">Its name.</param>
    public IoTask ClearBitmapAsync(string name) => _image.Bitmaps.ChangeAsync(name, content => content.Clear());

    /// <summary>Adds what is dirty in a bitmap of a disk of the same size.</summary>
    /// <param name="name">The bitmap that is changed.</param>
    /// <param name="source">What is added.</param>
    public IoTask MergeBitmapAsync(string name, DirtyBitmap source) => _image.Bitmaps.ChangeAsync(name, content => content.Merge(source));

    /// <summary>Makes a persistent dirty bitmap record changes, or stop doing so.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="isEnabled">True to record.</param>
    public IoTask EnableBitmapAsync(string name, bool isEnabled) => _image.Bitmaps.ChangeAsync(name, null, isEnabled);

    /// <summary>The content of a persistent dirty bitmap.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The content; the caller only reads it.</returns>
    public async IoTask<DirtyBitmap> GetBitmapAsync(string name) => (await _image.Bitmaps.FindAsync(name)).Content!;

    /// <summary>Bytes that the bitmaps which can be used would take in another image.</summary>
    /// <param name="cluster">Its cluster size.</param>
    /// <returns>The size.</returns>
    public async IoTask<long> MeasureBitmapsAsync(long cluster)
    {
        await _image.Bitmaps.ReadAsync();
        return _image.Bitmaps.Measure(cluster);
    }

    /// <inheritdoc/>
    public override IoTask EmptyAsync() => Qcow2Rewrite.EmptyAsync(_image);

    /// <inheritdoc/>
    public override IoTask ReadVmStateAsync(long offset, IoVector data)
        => _image.Corruption.IsDead ? IoTask.FromException(_image.Corruption.DeadError()) : _vmState.ReadAsync(offset, data);

    /// <inheritdoc/>
    public override async IoTask WriteVmStateAsync(long offset, IoVector data)
    {
        await _vmState.WriteAsync(offset, data);
        await FinishAsync(_writeThrough);
    }

    /// <inheritdoc/>
    public override IoTask ChangeBackingAsync(string? fileName, string? format) => Qcow2Rewrite.ChangeBackingAsync(_image, fileName, format);

    /// <inheritdoc/>
    public IoTask AmendAsync(OptionSet options, bool force, Action<long, long>? progress) => new Qcow2Amend(this).RunAsync(options, force, progress);

    /// <inheritdoc/>
    public override async IoTask<ImageInfo> GetInfoAsync()
    {
        Qcow2Header header = _image.Header.Current;
        await _image.Bitmaps.ReadAsync();
        ImageInfo file = await _image.File.Node.GetInfoAsync();
        return new ImageInfo
        {
            ActualSize = file.ActualSize,
            ClusterSize = _image.Geometry.ClusterLength,
            VmStateOffset = _image.Geometry.L1EntriesFor(header.Size) << _image.Geometry.L1Shift,
            BackingFileName = header.BackingFile,
            FullBackingFileName = header.BackingFile is { } name && BackingName.CanResolve(name, _image.File.BaseFileName) ? BackingName.Resolve(name, _image.File.BaseFileName) : null,
            BackingFormat = header.BackingFormat,
            IsDirty = header.IsDirty && !_image.IsModified,
            IsEncrypted = header.Encryption != Qcow2EncryptionMethod.None,
            Specific = [.. DescribeFormat(header, _image.Bitmaps.Describe(), Qcow2Encryption.Describe(_image))],
            Snapshots = [.. _image.Snapshots.Snapshots.Select(s => s.Info)],
        };
    }

    /// <inheritdoc/>
    protected override IoTask ReadCore(long offset, IoVector data)
    {
        ClusterReader reader = Reader;
        return _image.Corruption.IsDead ? IoTask.FromException(_image.Corruption.DeadError())
            : data.Length == 0 ? IoTask.Completed
            : reader.Map.TryMap(offset, data.Length, out Mapping mapping) && mapping.Length == data.Length && mapping.Kind is not (ClusterKind.Compressed or ClusterKind.Corrupt)
            ? reader.ReadMapped(offset, mapping, data)
            : reader.ReadAsync(offset, data);
    }

    /// <inheritdoc/>
    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        if (_writeThrough)
        {
            flags |= WriteFlags.Fua;
        }

        bool isPlain = _image.IsModified && data.Length > 0 && (flags & WriteFlags.Compressed) == 0 && ((flags & WriteFlags.Fua) == 0 || !_image.Tables.IsDurabilityOpen)
            && !(_image.PublishesMetadata && _image.Tables.IsMapUnpublished);
        return isPlain && _image.Map.TryMap(offset, data.Length, out Mapping mapping) && mapping.IsWritableInPlace && mapping.Length == data.Length
            && _image.IsDataRange(mapping.HostOffset, mapping.Length)
            ? WriteInPlace(offset, mapping, data, flags)
            : data.Length == 0 ? IoTask.Completed : WriteSlowAsync(offset, data, flags);
    }

    /// <inheritdoc/>
    protected override async IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        if (MustRecord)
        {
            await RecordAsync(offset, length);
        }

        await _eraser.WriteZeroesAsync(offset, length, flags);
        await FinishAsync((flags & ZeroFlags.Fua) != 0 || _writeThrough);
    }

    /// <inheritdoc/>
    protected override IoTask DiscardCore(long offset, long length) => MustRecord ? DiscardRecordedAsync(offset, length) : _eraser.DiscardAsync(offset, length);

    /// <inheritdoc/>
    protected override IoTask FlushCore() => _loopReaders is not null ? _image.File.FlushAsync() : _image.Corruption.IsDead ? IoTask.FromException(_image.Corruption.DeadError()) : _image.FlushAsync();

    /// <inheritdoc/>
    protected override async IoTask<Extent> GetExtentCore(long offset, long length)
    {
        if (_image.Corruption.IsDead)
        {
            throw _image.Corruption.DeadError();
        }

        bool isEncrypted = _image.Header.Current.Encryption != Qcow2EncryptionMethod.None;
        ClusterMap map = Reader.Map;
        Mapping mapping = await _image.MapAsync(map, offset, length);
        long found = mapping.Length;
        ExtentFlags flags = mapping.Kind switch
        {
            ClusterKind.Data => ExtentFlags.Data | ExtentFlags.Allocated | ExtentFlags.OffsetValid,
            ClusterKind.Compressed => ExtentFlags.Data | ExtentFlags.Allocated | ExtentFlags.Compressed,
            ClusterKind.Reserved => ExtentFlags.OffsetValid,
            ClusterKind.Zero => ExtentFlags.Zero | ExtentFlags.Allocated,
            ClusterKind.ZeroAllocated => ExtentFlags.Zero | ExtentFlags.Allocated | ExtentFlags.OffsetValid,
            _ => ExtentFlags.None,
        };
        if (mapping.Kind is ClusterKind.Unallocated or ClusterKind.Reserved)
        {
            long backed = _image.Backing is { } backing ? backing.Node.Length : 0;
            if (offset >= backed)
            {
                flags |= ExtentFlags.Zero;
            }
            else
            {
                found = Math.Min(found, backed - offset);
            }
        }
        else if (mapping.Kind == ClusterKind.Data && !isEncrypted && await (_loopReaders?.IsPreallocationLikelyAsync() ?? _image.Preallocation.IsLikelyAsync()))
        {
            (found, bool isHole) = await _image.Preallocation.LookBelowAsync(mapping);
            flags |= isHole ? ExtentFlags.Zero : ExtentFlags.None;
        }
        else
        {
            found = await ExtendAsync(map, offset, length, mapping);
        }

        // What lies there is not what the guest sees.
        flags &= isEncrypted ? ~ExtentFlags.OffsetValid : flags;
        bool hasHost = (flags & ExtentFlags.OffsetValid) != 0;
        return new Extent(offset, found, flags, hasHost ? mapping.HostOffset : 0, hasHost ? _image.Data.Node : null);
    }

    /// <inheritdoc/>
    protected override async IoTask<bool> CopyRangeCore(long offset, BlockNode source, long sourceOffset, long length)
    {
        if (_image.Encryption is not null)
        {
            return false;
        }

        if (MustRecord)
        {
            await RecordAsync(offset, length);
        }

        bool copied = await _copier.CopyAsync(offset, source, sourceOffset, length);
        await FinishAsync(copied && _writeThrough);
        return copied;
    }

    /// <inheritdoc/>
    protected override IoTask ResizeCore(long length, Preallocation preallocation) => new Qcow2Resize(_image, _writer, _eraser).RunAsync(length, preallocation);

    // In the order in which qemu-img prints.
    private static IEnumerable<(string Key, object Value)> DescribeFormat(Qcow2Header header, IReadOnlyList<DirtyBitmapInfo> bitmaps, IReadOnlyList<(string Key, object Value)>? encryption)
    {
        bool isNew = header.Version >= 3;
        yield return ("compat", isNew ? "1.1" : "0.10");
        yield return ("compression-type", header.Compression == Qcow2Compression.Zstd ? "zstd" : "zlib");
        if (isNew)
        {
            yield return ("lazy-refcounts", header.LazyRefcounts);
        }

        if (bitmaps.Count > 0)
        {
            yield return ("bitmaps", bitmaps);
        }

        yield return ("refcount-bits", 1L << header.RefcountOrder);
        if (encryption is not null)
        {
            yield return ("encrypt", encryption);
        }

        if (isNew)
        {
            if (header.DataFile is { } dataFile)
            {
                yield return ("data-file", dataFile);
            }

            if (header.HasDataFile)
            {
                yield return ("data-file-raw", header.IsDataFileRaw);
            }

            yield return ("corrupt", header.IsCorrupt);
            yield return ("extended-l2", header.IsExtended);
        }
    }

    // A mapping ends where the cache does; goes on while the next one says the same.
    private async IoTask<long> ExtendAsync(ClusterMap map, long offset, long length, Mapping mapping)
    {
        long found = mapping.Length;
        while (found < length)
        {
            Mapping next = await _image.MapAsync(map, offset + found, length - found);
            bool joins = next.Kind == mapping.Kind && (!mapping.HasHost || next.HostOffset == mapping.HostOffset + found);
            if (!joins)
            {
                break;
            }

            found += next.Length;
        }

        return found;
    }

    private ClusterReader Reader => _loopReaders is null ? _reader : _loopReaders.Current;

    // What decrypts belongs to a loop too.
    private static bool IsForAnyLoop(Qcow2Image image)
        => !image.IsWritable && image.Encryption is null
            && (image.File.Node.Features & image.Data.Node.Features & (image.Backing?.Node.Features ?? BlockFeatures.AnyLoop) & BlockFeatures.AnyLoop) != 0;

    private IoTask WriteInPlace(long offset, Mapping mapping, IoVector data, WriteFlags flags)
    {
        _image.Bitmaps.Mark(offset, data.Length);
        return _image.Content.WriteAsync(offset, mapping.HostOffset, data, flags);
    }

    private bool MustRecord => _image.Bitmaps.IsRecording || (!_image.IsModified && _image.Header.Current.HasBitmaps);

    // Also what fails half-way may have changed something.
    private async IoTask RecordAsync(long offset, long length)
    {
        await _image.BeginChangeAsync();
        _image.Bitmaps.Mark(offset, length);
    }

    private async IoTask DiscardRecordedAsync(long offset, long length)
    {
        await RecordAsync(offset, length);
        await _eraser.DiscardAsync(offset, length);
    }

    private async IoTask WriteSlowAsync(long offset, IoVector data, WriteFlags flags)
    {
        if (MustRecord)
        {
            await RecordAsync(offset, data.Length);
        }

        if ((flags & WriteFlags.Compressed) != 0)
        {
            await _compressor.WriteAsync(offset, data);
        }
        else
        {
            await _writer.WriteAsync(offset, data);
        }

        await FinishAsync((flags & WriteFlags.Fua) != 0);
    }

    private IoTask FinishAsync(bool isDurable)
        => isDurable ? _image.FlushAsync() : _image.PublishesMetadata ? _image.Tables.PublishAsync() : IoTask.Completed;
}
