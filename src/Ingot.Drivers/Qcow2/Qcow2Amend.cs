using System.Numerics;
using Ingot.Block;
using Ingot.Drivers.Crypto;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Changes the format options of an image. A higher version comes first, because it allows more. What needs clusters is done next; then counts of another width are written behind
/// everything that is in use, and one new header makes all of it true at once.
/// </summary>
internal sealed class Qcow2Amend(Qcow2Node node)
{
    private const int MinClusterBitsForNames = 13;

    private readonly Qcow2Image _image = node.Image;

    internal static IReadOnlyList<(string Name, string Help)> Options { get; } =
    [
        ("backing_file", "File name of a base image"),
        ("backing_fmt", "Image format of the base image"),
        ("compat", "Compatibility level (v2 [0.10] or v3 [1.1])"),
        ("data_file", "File name of an external data file"),
        ("data_file_raw", "The external data file must stay valid as a raw image"),
        .. LuksAmend.Options.Select(o => ($"encrypt.{o.Name}", o.Help)),
        ("lazy_refcounts", "Postpone refcount updates"),
        ("refcount_bits", "Width of a reference count entry in bits"),
        ("size", "Virtual disk size"),
    ];

    internal async IoTask RunAsync(OptionSet options, bool force, Action<long, long>? progress)
    {
        Qcow2Header old = _image.Header.Current;
        int version = options.TakeString("compat") switch
        {
            null => old.Version,
            "0.10" or "v2" => 2,
            "1.1" or "v3" => 3,
            string other => throw new OptionException($"Unknown compatibility level {other}"),
        };
        RefuseBacking(options, old);
        int order = TakeRefcountOrder(options, old, version);
        bool? lazy = TakeLazyRefcounts(options, version);
        (string? dataFile, bool? isRaw) = TakeDataFile(options, old);
        long size = options.TakeSize("size") ?? old.Size;

        if (version < old.Version)
        {
            RefuseDowngrade(old, size);
        }

        if (options.Has("encrypt"))
        {
            await Qcow2Encryption.AmendAsync(_image, options.TakeSet("encrypt"), force);
        }

        bool isNarrower = order < old.RefcountOrder;
        ReferenceMap? references = order == old.RefcountOrder ? null : await ReadCountsAsync(isNarrower ? order : null);
        if (version > old.Version)
        {
            await _image.BeginChangeAsync();
            if (_image.Snapshots.Snapshots.Any(s => !s.IsComplete))
            {
                await new Qcow2Snapshots(_image).RewriteTableAsync();
            }

            await SettleAsync();
            await _image.Header.ReplaceAsync(Convert(_image.Header.Current, version, lazy));
        }

        if (size != old.Size)
        {
            await node.ResizeAsync(size);
        }

        Action<long, long>? part = Share(progress, 0, references is not null && version < old.Version);
        if (version < old.Version)
        {
            await new ZeroClusterExpansion(_image).RunAsync(part);
            part = Share(progress, 1, references is not null);
        }

        await SettleAsync();
        Qcow2Header now = _image.Header.Current;
        Qcow2Header changed = Convert(NameDataFile(now, dataFile, isRaw), version, lazy);
        if (references is not null)
        {
            references = await ReadCountsAsync(null);
            var geometry = new Qcow2Geometry(version, now.ClusterBits, order, now.IsExtended, now.HasDataFile);
            (long offset, int clusters) = await new RefcountRebuild(_image, references, geometry).WriteAsync(part);
            changed = changed with { RefcountOrder = order, RefcountTableOffset = offset, RefcountTableClusters = clusters };
        }

        await _image.Header.ReplaceAsync(changed);
    }

    // Nothing waits for being written any more.
    private async IoTask SettleAsync()
    {
        await _image.BeginChangeAsync();
        await _image.FlushAsync();
        await _image.Tables.WriteAllAsync();

        // Not when the image is closed: that would need counts of the old width.
        await _image.Bitmaps.StoreAsync();
        await _image.Tables.WriteAllAsync();
        await _image.File.FlushAsync();
    }

    // As QEMU: the content would change with the name, which is what rebase is for.
    private static void RefuseBacking(OptionSet options, Qcow2Header header)
    {
        string? file = options.TakeString("backing_file");
        string? format = options.TakeString("backing_fmt");
        if ((file is not null || format is not null) && (file != header.BackingFile || format != header.BackingFormat))
        {
            throw new OptionException("Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.");
        }
    }

    private static int TakeRefcountOrder(OptionSet options, Qcow2Header old, int version)
    {
        long bits = options.TakeNumber("refcount_bits") ?? 1L << old.RefcountOrder;
        return bits is < 1 or > 64 || !BitOperations.IsPow2(bits) ? throw new OptionException("Refcount width must be a power of two and may not exceed 64 bits")
            : bits == 16 || version >= 3 ? BitOperations.Log2((ulong)bits)
            : throw new OptionException(bits != 1L << old.RefcountOrder
                ? "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)"
                : "compat=0.10 requires refcount_bits=16");
    }

    private static bool? TakeLazyRefcounts(OptionSet options, int version)
        => options.TakeBool("lazy_refcounts") is not { } lazy ? null
            : lazy && version < 3 ? throw new OptionException("Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)")
            : lazy;

    private static (string? Name, bool? IsRaw) TakeDataFile(OptionSet options, Qcow2Header header)
    {
        string? name = options.TakeString("data_file");
        bool? raw = options.TakeBool("data_file_raw");
        if (raw == true && !header.IsDataFileRaw)
        {
            throw new OptionException("data-file-raw cannot be set on existing images");
        }

        if (name is not null && !header.HasDataFile)
        {
            throw new OptionException("data-file can only be set for images that use an external data file");
        }

        return (name, raw);
    }

    private static Qcow2Header NameDataFile(Qcow2Header header, string? name, bool? isRaw)
    {
        List<HeaderExtension> extensions = [.. header.Extensions.Where(e => name is null || e.Type != ExtensionDataFile)];
        if (name is { Length: > 0 })
        {
            extensions.Add(new HeaderExtension(ExtensionDataFile, NativeText.Encode(name)));
        }

        return header with { Extensions = extensions, Autoclear = isRaw == false ? header.Autoclear & ~AutoclearRawDataFile : header.Autoclear };
    }

    private void RefuseDowngrade(Qcow2Header old, long size)
    {
        IncompatibleFeatures left = old.Incompatible & ~IncompatibleFeatures.Dirty;
        if (old.HasDataFile)
        {
            throw new OptionException("Cannot downgrade an image with a data file");
        }

        if (left != 0)
        {
            throw new ErrnoException(Errno.ENOTSUP, $"Cannot downgrade an image with incompatible features 0x{(ulong)left:x} set");
        }

        // Version 2 has no room for what was other than now.
        if (_image.Snapshots.Snapshots.Any(s => s.Info.VmStateSize != 0 || s.Info.DiskSize != size))
        {
            throw new ErrnoException(Errno.ENOTSUP, "Internal snapshots prevent downgrade of image");
        }
    }

    private static Qcow2Header Convert(Qcow2Header header, int version, bool? lazy)
    {
        bool isNew = version >= 3;
        ulong compatible = lazy is null ? header.Compatible : lazy.Value ? header.Compatible | CompatibleLazyRefcounts : header.Compatible & ~CompatibleLazyRefcounts;
        List<HeaderExtension> extensions = [.. header.Extensions.Where(e => isNew || e.Type != ExtensionFeatureNames)];
        if (isNew && header.Version < 3 && header.ClusterBits >= MinClusterBitsForNames && extensions.All(e => e.Type != ExtensionFeatureNames))
        {
            extensions.Add(new HeaderExtension(ExtensionFeatureNames, FeatureNames.Build()));
        }

        return header with
        {
            Version = version,
            HeaderLength = version == header.Version ? header.HeaderLength : isNew ? CurrentHeaderLength : Version2HeaderLength,
            Incompatible = isNew ? header.Incompatible : header.Incompatible & ~IncompatibleFeatures.Dirty,
            Compatible = isNew ? compatible : 0,
            Autoclear = isNew ? header.Autoclear : 0,
            Extensions = extensions,
        };
    }

    // Two parts of a change share one progress; each has a half.
    private static Action<long, long>? Share(Action<long, long>? progress, int part, bool isShared)
        => progress is null || !isShared ? progress : (done, total) => progress(done + (part * total), 2 * total);

    // All counts but those of the refcount table and its blocks, which will be given up.
    private async IoTask<ReferenceMap> ReadCountsAsync(int? limitOrder)
    {
        Qcow2Geometry geometry = _image.Geometry;
        PagedTable table = _image.Refcounts.Table;
        var own = new HashSet<long>();
        for (long i = 0; i < geometry.ClustersFor(table.Count * 8L); i++)
        {
            own.Add(geometry.ClusterOf(table.Offset) + i);
        }

        for (int i = 0; i < table.Count; i++)
        {
            own.Add(geometry.ClusterOf((long)(table[i] & OffsetMask)));
        }

        ulong max = limitOrder is { } order ? new Qcow2Geometry(3, geometry.ClusterBits, order).MaxRefcount : ulong.MaxValue;
        var references = new ReferenceMap(bytes => UntrustedImage.LimitTable(_image.Flags, _image.File.FileName, "count of references", bytes));
        own.Remove(0);
        for (int i = 0; i < table.Count; i++)
        {
            long first = (long)i << geometry.RefcountBlockBits;
            for (long cluster = first; table[i] != 0 && cluster < first + (1L << geometry.RefcountBlockBits); cluster++)
            {
                ulong count = _image.Refcounts.TryGet(cluster, out ulong known) ? known : await _image.Refcounts.GetAsync(cluster);
                if (count > max)
                {
                    throw new ErrnoException(Errno.EINVAL, $"Cannot decrease refcount entry width to {BitOperations.PopCount(max)} bits: "
                        + $"Cluster at offset 0x{cluster << geometry.ClusterBits:x} has a refcount of {count}");
                }

                if (count != 0 && !own.Contains(cluster))
                {
                    references.Set(cluster, count);
                }
            }
        }

        return references;
    }
}
