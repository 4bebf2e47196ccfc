using System.Numerics;
using Ingot.Block;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>What a new image is like.</summary>
internal sealed record Qcow2CreateOptions
{
    private const int DefaultClusterLength = 65536;

    // Below this, the header's cluster is left to the backing file's name, as QEMU does.
    private const int MinClusterBitsForNames = 13;

    internal int Version { get; private init; }

    internal int ClusterBits { get; private init; }

    internal int RefcountOrder { get; private init; }

    internal bool LazyRefcounts { get; private init; }

    internal Qcow2Compression Compression { get; private init; }

    internal Preallocation Preallocation { get; private init; }

    internal bool ExtendedL2 { get; private init; }

    internal string? DataFile { get; private init; }

    internal bool DataFileRaw { get; private init; }

    internal string? BackingFile { get; private init; }

    internal string? BackingFormat { get; private init; }

    internal Qcow2EncryptionOptions? Encryption { get; private init; }

    internal static Qcow2CreateOptions Take(OptionSet options)
    {
        int version = (TakeWord(options, "compat", "version", "0.10", "1.1", "v2", "v3") ?? options.TakeWord("version", "v2", "v3")) is "0.10" or "v2" ? 2 : 3;
        long clusterLength = options.TakeSize("cluster_size") ?? DefaultClusterLength;
        if (!BitOperations.IsPow2(clusterLength) || clusterLength < 1 << MinClusterBits || clusterLength > 1 << MaxClusterBits)
        {
            throw new OptionException($"Cluster size must be a power of two between {1 << MinClusterBits} and {1 << (MaxClusterBits - 10)}k");
        }

        long refcountBits = options.TakeNumber("refcount_bits") ?? 16;
        if (refcountBits is < 1 or > 64 || !BitOperations.IsPow2(refcountBits))
        {
            throw new OptionException("Refcount width must be a power of two and may not exceed 64 bits");
        }

        var taken = new Qcow2CreateOptions
        {
            Version = version,
            ClusterBits = BitOperations.Log2((ulong)clusterLength),
            RefcountOrder = BitOperations.Log2((ulong)refcountBits),
            LazyRefcounts = options.TakeBool("lazy_refcounts") ?? false,
            Compression = TakeWord(options, "compression_type", "compression-type", "zlib", "zstd") == "zstd" ? Qcow2Compression.Zstd : Qcow2Compression.Zlib,
            Preallocation = options.TakeWord("preallocation", "off", "metadata", "falloc", "full") switch
            {
                "metadata" => Preallocation.Metadata,
                "falloc" => Preallocation.Falloc,
                "full" => Preallocation.Full,
                _ => Preallocation.Off,
            },
            BackingFile = options.TakeString("backing_file") is { Length: > 0 } backing ? backing : null,
            BackingFormat = TakeFormat(options),
            Encryption = Qcow2EncryptionOptions.Take(options),
            ExtendedL2 = options.TakeBool("extended_l2") ?? false,
            DataFile = options.TakeString("data_file") is { Length: > 0 } dataFile ? dataFile : null,
            DataFileRaw = options.TakeBool("data_file_raw") ?? false,
        };
        // A raw data file needs tables that never have to change for its content to be the disk's.
        taken = taken.Checked();
        return taken is { DataFileRaw: true, Preallocation: Preallocation.Off } ? taken with { Preallocation = Preallocation.Metadata } : taken;
    }

    /// <summary>The header of an image with these options that has no tables and no key slots yet.</summary>
    internal Qcow2Header ToHeader()
    {
        var extensions = new List<HeaderExtension>();
        if (BackingFile is not null && BackingFormat is not null)
        {
            extensions.Add(new HeaderExtension(ExtensionBackingFormat, NativeText.Encode(BackingFormat)));
        }

        if (DataFile is not null)
        {
            extensions.Add(new HeaderExtension(ExtensionDataFile, NativeText.Encode(DataFile)));
        }

        if (Version >= 3 && ClusterBits >= MinClusterBitsForNames)
        {
            extensions.Add(new HeaderExtension(ExtensionFeatureNames, FeatureNames.Build()));
        }

        return new Qcow2Header
        {
            Version = Version,
            ClusterBits = ClusterBits,
            RefcountOrder = RefcountOrder,
            HeaderLength = Version >= 3 ? CurrentHeaderLength : Version2HeaderLength,
            Compatible = LazyRefcounts ? CompatibleLazyRefcounts : 0,
            Incompatible = (Compression == Qcow2Compression.Zlib ? 0 : IncompatibleFeatures.CompressionType)
                | (ExtendedL2 ? IncompatibleFeatures.ExtendedL2 : 0)
                | (DataFile is not null ? IncompatibleFeatures.ExternalDataFile : 0),
            Autoclear = DataFileRaw ? AutoclearRawDataFile : 0,
            Compression = Compression,
            Encryption = Encryption is { Luks: null } ? Qcow2EncryptionMethod.Aes : Qcow2EncryptionMethod.None,
            BackingFile = BackingFile,
            BackingFormat = BackingFormat,
            Extensions = extensions,
        };
    }

    // Messages name these options as the monitor does.
    private static string? TakeWord(OptionSet options, string name, string officialName, params ReadOnlySpan<string> words)
        => options.TakeString(name) is not { } text ? null
            : words.Contains(text) ? text : throw new OptionException($"Parameter '{officialName}' does not accept value '{text}'");

    private static string? TakeFormat(OptionSet options)
    {
        string? format = options.TakeString("backing_fmt");
        return format is null || DriverTable.Find(format) is not null ? format : throw new OptionException($"Parameter 'backing-fmt' does not accept value '{format}'");
    }

    private Qcow2CreateOptions Checked()
    {
        const string Newer = "only supported with compatibility level 1.1 and above (use version=v3 or greater)";
        string? wrong = BackingFormat is not null && BackingFile is null ? "Backing format cannot be used without backing file"
            : BackingFile is not null && Preallocation != Preallocation.Off && !ExtendedL2
                ? "Backing file and preallocation can only be used at the same time if extended_l2 is on"
            : ExtendedL2 && ClusterBits < MinExtendedClusterBits
                ? $"Extended L2 entries are only supported with cluster sizes of at least {1 << MinExtendedClusterBits} bytes"
            : Version < 3 && ExtendedL2 ? $"Extended L2 entries are {Newer}"
            : Version < 3 && LazyRefcounts ? $"Lazy refcounts {Newer}"
            : Version < 3 && RefcountOrder != 4
                ? "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)"
            : DataFileRaw && DataFile is null ? "data-file-raw requires data-file"
            : DataFileRaw && BackingFile is not null ? "Backing file and data-file-raw cannot be used at the same time"
            : Version < 3 && DataFile is not null ? $"External data files are {Newer}"
            : Version < 3 && Compression != Qcow2Compression.Zlib ? $"Non-zlib compression type is {Newer}"
            : null;
        return wrong is null ? this : throw new OptionException(wrong);
    }
}
