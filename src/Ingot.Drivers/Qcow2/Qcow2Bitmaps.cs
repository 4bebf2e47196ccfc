using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// The persistent dirty bitmaps of an image. Before the first change those that record are read and marked in use in the file; they are stored when
/// the image is closed, into new clusters, and the header names a new directory. One that was not stored stays marked and is inconsistent from then on.
/// </summary>
internal sealed class Qcow2Bitmaps(Qcow2Image image)
{
    private const long MaxStoredLength = 0x20000000;

    private readonly Qcow2Geometry _geometry = image.Geometry;
    private readonly List<(long First, long Count)> _released = []; // clusters that the directory in the file still names
    private readonly List<BitmapEntry> _removed = []; // that it still has
    private List<BitmapEntry> _entries = [];
    private DirtyBitmap[] _recording = [];
    private bool _isRead;
    private long _loadedBytes;
    private bool _mustStore;

    /// <summary>True when closing must write bitmaps.</summary>
    internal bool MustStore => _mustStore;

    /// <summary>True when changes of the disk must be told.</summary>
    internal bool IsRecording => _recording.Length > 0;

    internal IReadOnlyList<BitmapEntry> Entries => _entries;

    /// <summary>Records a change.</summary>
    internal void Mark(long offset, long length)
    {
        foreach (DirtyBitmap bitmap in _recording)
        {
            bitmap.Set(offset, length);
        }
    }

    /// <summary>What people see of the bitmaps.</summary>
    internal IReadOnlyList<DirtyBitmapInfo> Describe()
        => [.. _entries.Select(e => new DirtyBitmapInfo(e.Name, 1L << e.GranularityBits, (e.Flags & BitmapEntry.InUse) != 0, (e.Flags & BitmapEntry.Auto) != 0))];

    /// <summary>Bytes that the bitmaps which can be used would take in an image with clusters of some size.</summary>
    internal long Measure(long cluster)
    {
        long size = 0;
        long directory = 0;
        foreach (BitmapEntry entry in _entries.Where(e => !e.IsInconsistent))
        {
            long clusters = (StoredLength(image.Length, entry.GranularityBits) + cluster - 1) / cluster;
            size += (clusters * cluster) + (((clusters * 8) + cluster - 1) / cluster * cluster);
            directory += (BitmapEntry.FixedLength + NativeText.Encode(entry.Name).Length + 7) & ~7;
        }

        return size + ((directory + cluster - 1) / cluster * cluster);
    }

    /// <summary>Reads which bitmaps there are.</summary>
    internal async IoTask ReadAsync()
    {
        if (!_isRead)
        {
            _entries = await BitmapEntry.ReadAllAsync(image.File, image.Header.Current, image.Flags);
            _isRead = true;
        }
    }

    /// <summary>Before the first change: the file says that its bitmaps are not up to date.</summary>
    internal async IoTask BeginAsync()
    {
        await ReadAsync();
        foreach (BitmapEntry entry in _entries)
        {
            if (entry.IsEnabled)
            {
                await LoadAsync(entry);
            }
        }

        await MarkInUseAsync([.. _entries.Where(e => e.IsEnabled || (e.IsInconsistent && (e.Flags & BitmapEntry.InUse) == 0 && e.TableEntries > 0))]);
        Refresh();
    }

    /// <summary>The bitmap of a name with its content.</summary>
    /// <exception cref="ErrnoException">There is none, or it can't be used.</exception>
    internal async IoTask<BitmapEntry> FindAsync(string name)
    {
        await ReadAsync();
        BitmapEntry entry = _entries.Find(e => e.Name == name) ?? throw new ErrnoException(Errno.ENOENT, $"Dirty bitmap '{name}' not found");
        if (entry.IsInconsistent)
        {
            throw new ErrnoException(Errno.EINVAL, $"Bitmap '{name}' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from disk");
        }

        await LoadAsync(entry);
        return entry;
    }

    internal async IoTask AddAsync(string name, long? granularity)
    {
        if (granularity is { } given && (given < 512 || given > uint.MaxValue || !System.Numerics.BitOperations.IsPow2(given)))
        {
            throw new OptionException("Granularity must be power of 2 and at least 512");
        }

        if (name.Length == 0)
        {
            throw new OptionException("Bitmap name cannot be empty");
        }

        long unit = granularity ?? Math.Max(4096, _geometry.ClusterLength);
        await image.BeginChangeAsync();
        string refusal = $"Can't make bitmap '{name}' persistent in '{image.File.FileName}': ";
        int bits = System.Numerics.BitOperations.Log2((ulong)unit);
        if (_geometry.Version < 3)
        {
            throw new OptionException($"{refusal}Cannot store dirty bitmaps in qcow2 v2 files");
        }

        if (_entries.Exists(e => e.Name == name))
        {
            throw new OptionException($"Bitmap already exists: {name}");
        }

        if (NativeText.Encode(name).Length > BitmapEntry.MaxNameLength)
        {
            throw new OptionException($"{refusal}Name length exceeds maximum ({BitmapEntry.MaxNameLength} characters)");
        }

        if (bits > BitmapEntry.MaxGranularityBits)
        {
            throw new OptionException($"{refusal}Granularity exceeds maximum ({1L << BitmapEntry.MaxGranularityBits} bytes)");
        }

        if (StoredLength(image.Length, bits) > MaxStoredLength)
        {
            throw new OptionException($"{refusal}Too much space will be occupied by the bitmap. Use larger granularity");
        }

        _entries.Add(new BitmapEntry { Name = name, GranularityBits = bits, Flags = BitmapEntry.Auto, Content = new DirtyBitmap(image.Length, bits) });
        Changed();
    }

    internal async IoTask RemoveAsync(string name)
    {
        await ReadAsync();
        BitmapEntry entry = _entries.Find(e => e.Name == name) ?? throw new ErrnoException(Errno.ENOENT, $"Dirty bitmap '{name}' not found");
        await image.BeginChangeAsync();
        await FreeStoredAsync(entry);
        _entries.Remove(entry);
        if (entry.DirectoryOffset is not null)
        {
            _removed.Add(entry);
        }

        Changed();
    }

    /// <summary>Does something to the content, or to whether changes are recorded.</summary>
    internal async IoTask ChangeAsync(string name, Action<DirtyBitmap>? change, bool? isEnabled = null)
    {
        BitmapEntry entry = await FindAsync(name);
        await image.BeginChangeAsync();
        change?.Invoke(entry.Content!);
        entry.Flags = isEnabled is { } enabled ? (entry.Flags & ~BitmapEntry.Auto) | (enabled ? BitmapEntry.Auto : 0) : entry.Flags;
        Changed();
    }

    /// <summary>The disk gets another size. Bitmaps that can't be used have no size that fits.</summary>
    internal async IoTask ResizeAsync(long length)
    {
        await ReadAsync();
        if (_entries.Find(e => e.IsInconsistent) is { } bad)
        {
            throw new ErrnoException(Errno.ENOTSUP, $"Cannot resize image '{image.File.FileName}': bitmap '{bad.Name}' is inconsistent");
        }

        // A stored one of another size would be taken for corrupt.
        BitmapEntry[] stored = [.. _entries.Where(e => (e.Flags & BitmapEntry.InUse) == 0 && e.DirectoryOffset is not null)];
        foreach (BitmapEntry entry in stored)
        {
            await LoadAsync(entry);
        }

        await MarkInUseAsync([.. stored, .. _removed.Where(e => (e.Flags & BitmapEntry.InUse) == 0)]);
        foreach (BitmapEntry entry in _entries.ToArray())
        {
            await ChangeAsync(entry.Name, content => content.Resize(length));
        }
    }

    /// <summary>Writes the bitmaps and names them in the header. Everything else must be in the file.</summary>
    internal async IoTask StoreAsync()
    {
        if (!_mustStore)
        {
            return;
        }

        (long oldOffset, long oldLength) = DirectoryPlace();
        foreach (BitmapEntry entry in _entries)
        {
            if (entry.Content is not null)
            {
                await StoreAsync(entry);
                entry.Flags &= ~BitmapEntry.InUse;
            }
        }

        byte[] directory = BitmapEntry.Encode(_entries);
        long offset = directory.Length == 0 ? 0 : await WriteNewAsync(directory);
        await image.Tables.WriteAsync(withCounts: true);
        await image.File.FlushAsync();
        Qcow2Header header = image.Header.Current;
        List<HeaderExtension> extensions = [.. header.Extensions.Where(e => e.Type != ExtensionBitmaps)];
        ulong autoclear = header.Autoclear & ~AutoclearBitmaps;
        if (_entries.Count > 0)
        {
            extensions.Add(Extension(offset, directory.Length));
            autoclear |= AutoclearBitmaps;
        }

        await image.Header.ReplaceAsync(header with { Extensions = extensions, Autoclear = autoclear });
        _mustStore = false;
        if (oldLength > 0)
        {
            image.Tables.Free(_geometry.ClusterOf(oldOffset), _geometry.ClustersFor(oldLength), discard: false);
        }

        _released.ForEach(r => image.Tables.Free(r.First, r.Count, discard: false));
        _released.Clear();
        _removed.Clear();
    }

    private async IoTask StoreAsync(BitmapEntry entry)
    {
        try
        {
            await FreeStoredAsync(entry);
            await WriteAsync(entry);
        }
        catch (ErrnoException e)
        {
            throw new BitmapStoreException(e.Errno, $"Failed to write bitmap '{entry.Name}' to file: {e.Message}", e);
        }
    }

    // Flags of entries do not straddle sectors, so the directory can be rewritten in place. Bitmaps that were added or removed meanwhile wait for the next.
    private async IoTask MarkInUseAsync(IReadOnlyCollection<BitmapEntry> changing)
    {
        (long offset, long length) = DirectoryPlace();
        if (changing.Count == 0 || length == 0)
        {
            return;
        }

        byte[] directory = await image.File.ReadBytesAsync(offset, (int)length);
        foreach (BitmapEntry entry in changing)
        {
            entry.MarkInUse(directory);
        }

        await image.File.WriteBytesAsync(offset, directory);
        await image.File.FlushAsync();
        _mustStore = true;
    }

    private static long StoredLength(long length, int bits) => length == 0 ? 0 : (((length - 1) >> bits) / 8) + 1;

    private void Changed()
    {
        _mustStore = true;
        Refresh();
    }

    private void Refresh() => _recording = [.. _entries.Where(e => e.IsEnabled && e.Content is not null).Select(e => e.Content!)];

    private HeaderExtension Extension(long offset, int length)
    {
        var data = new byte[24];
        BinaryPrimitives.WriteUInt32BigEndian(data, (uint)_entries.Count);
        BinaryPrimitives.WriteUInt64BigEndian(data.AsSpan(8), (ulong)length);
        BinaryPrimitives.WriteUInt64BigEndian(data.AsSpan(16), (ulong)offset);
        return new HeaderExtension(ExtensionBitmaps, data);
    }

    private (long Offset, long Length) DirectoryPlace()
    {
        Qcow2Header header = image.Header.Current;
        byte[]? data = (header.Autoclear & AutoclearBitmaps) == 0 ? null : header.Extensions.FirstOrDefault(e => e.Type == ExtensionBitmaps)?.Data;
        return data is { Length: 24 } ? ((long)BinaryPrimitives.ReadUInt64BigEndian(data.AsSpan(16)), (long)BinaryPrimitives.ReadUInt64BigEndian(data.AsSpan(8))) : default;
    }

    private async IoTask LoadAsync(BitmapEntry entry)
    {
        if (entry.Content is not null)
        {
            return;
        }

        long stored = StoredLength(image.Length, entry.GranularityBits);
        UntrustedImage.LimitTable(image.Flags, image.File.FileName, $"dirty bitmaps up to '{entry.Name}'", _loadedBytes + stored);
        if (stored > MaxStoredLength || entry.TableEntries != _geometry.ClustersFor(stored))
        {
            throw new ImageFormatException($"Image '{image.File.FileName}': Bitmap '{entry.Name}' doesn't satisfy the constraints: its table has {entry.TableEntries} entries");
        }

        var content = new DirtyBitmap(image.Length, entry.GranularityBits);
        PagedTable table = await PagedTable.ReadAsync(image.File, entry.TableOffset, entry.TableEntries);
        for (int index = 0; index < table.Count; index++)
        {
            long part = (long)index << _geometry.ClusterBits;
            long data = (long)(table[index] & OffsetMask);
            if (data != 0 && _geometry.InCluster(data) == 0)
            {
                content.Load(part, await image.File.ReadBytesAsync(data, _geometry.ClusterLength));
            }
            else if (data != 0 || (table[index] & 1) != 0)
            {
                byte[] ones = new byte[_geometry.ClusterLength];
                ones.AsSpan().Fill(0xff);
                content.Load(part, ones);
            }
        }

        entry.Content = content;
        _loadedBytes += stored;
    }

    private async IoTask WriteAsync(BitmapEntry entry)
    {
        DirtyBitmap content = entry.Content!;
        int count = (int)_geometry.ClustersFor(content.StoredLength);
        var table = new byte[count * 8];
        var part = new byte[_geometry.ClusterLength];
        for (int index = 0; index < count; index++)
        {
            content.Save((long)index << _geometry.ClusterBits, part);
            ulong value = part.AsSpan().ContainsAnyExcept((byte)0) ? (ulong)await WriteNewAsync(part) : 0;
            BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan(index * 8), value);
        }

        (entry.TableOffset, entry.TableEntries) = (count == 0 ? 0 : await WriteNewAsync(table), count);
    }

    private async IoTask<long> WriteNewAsync(byte[] bytes)
    {
        ClusterRun run = await image.Allocator.AllocateAsync(_geometry.ClustersFor(bytes.Length));
        await image.File.WriteBytesAsync(run.First << _geometry.ClusterBits, bytes);
        return run.First << _geometry.ClusterBits;
    }

    private async IoTask FreeStoredAsync(BitmapEntry entry)
    {
        if (entry.TableOffset == 0)
        {
            return;
        }

        PagedTable table = await PagedTable.ReadAsync(image.File, entry.TableOffset, entry.TableEntries);
        foreach (long data in table.Targets)
        {
            _released.Add((_geometry.ClusterOf(data), 1));
        }

        _released.Add((_geometry.ClusterOf(entry.TableOffset), _geometry.ClustersFor(entry.TableEntries * 8L)));
        entry.TableOffset = 0;
    }
}
