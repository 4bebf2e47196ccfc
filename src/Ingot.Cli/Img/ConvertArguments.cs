using Ingot.Block;
using Ingot.Drivers;

namespace Ingot.Cli;

/// <summary>The command line of `convert`, checked.</summary>
internal sealed record ConvertArguments
{
    private const int MaxSparse = 16 << 20;

    // The aliases are what QEMU 10.0 takes, although its help names the others.
    public static Option[] Options { get; } =
    [
        CommonOptions.Quiet,
        CommonOptions.Progress,
        Option.Value('f', "source-format", "SRC_FMT", "specify SRC_FILENAME source image format explicitly"),
        Option.Switch('\0', "image-opts", "indicates that SRC_FILENAME is a complete image specification\ninstead of a file name (incompatible with --source-format)") with { Aliases = ["source-image-opts"] },
        Option.Value('l', "source-snapshot", "SNAPSHOT_PARAMS", "copy this internal snapshot: its id or name,\nor snapshot.id=ID,snapshot.name=NAME") with { Aliases = ["snapshot"] },
        Option.Value('T', "source-cache", "SRC_CACHE", "source image(s) cache mode (writeback)"),
        Option.Value('O', "target-format", "TGT_FMT", "specify TGT_FILENAME image format (default is raw)") with { Aliases = ["output-format"] },
        Option.Switch('\0', "target-image-opts", "indicates that TGT_FILENAME is a complete image specification\ninstead of a file name (incompatible with --target-format)"),
        Option.Value('o', "target-options", "TGT_OPTS", "TGT_FMT-specific options") with { Aliases = ["options"] },
        Option.Switch('c', "compress", "create compressed output image (qcow2 format only)"),
        Option.Value('t', "target-cache", "TGT_CACHE", "cache mode when opening output image (unsafe)") with { Aliases = ["output-cache"] },
        Option.Value('B', "backing", "BACKING_FILENAME", "create output to be a CoW on top of BACKING_FILENAME"),
        Option.Value('F', "backing-format", "BACKING_FMT", "specify BACKING_FILENAME image format explicitly"),
        Option.Switch('n', "no-create", "write into a target that exists"),
        Option.Switch('\0', "target-is-zero", "the target of -n reads as zeroes already"),
        Option.Value('S', "sparse-size", "SPARSE_SIZE", "runs of zeroes of this length stay holes in the target (4k);\n0 looks for none and allocates everything"),
        Option.Switch('\0', "bitmaps", "also copy any persistent bitmaps present in source"),
        Option.Switch('\0', "skip-broken-bitmaps", "skip (do not error out) any broken bitmaps"),
        CommonOptions.ForceShare,
        CommonOptions.Untrusted,
        Option.Value('r', "rate", "RATE", "I/O rate limit in bytes per second"),
        Option.Value('m', "parallel", "NUM_COROUTINES", "specify parallelism (default 8)"),
        Option.Switch('C', "copy-range-offloading", "use copy offloading if possible"),
        Option.Switch('\0', "salvage", "put zeroes in place of what can't be read, and go on"),
        Option.Switch('W', "oob-writes", "enable out-of-order writes to improve performance"),
        CommonOptions.Object,
    ];

    public required string Target { get; init; }

    public required bool TargetIsOptions { get; init; }

    public required string? TargetFormat { get; init; }

    public required OpenFlags SourceFlags { get; init; }

    public required OpenFlags TargetFlags { get; init; }

    public required CopyOptions Copy { get; init; }

    public required string[] TargetOptions { get; init; }

    public string? Backing { get; init; }

    public string? BackingFormat { get; init; }

    /// <summary>Whether the new target has a backing file, by -B or as one of its options.</summary>
    public bool HasBacking => Backing is not null || CreateOptionText.Parse(TargetOptions).Peek("backing_file") is { Length: > 0 };

    public bool NoCreate { get; init; }

    public bool TargetIsZero { get; init; }

    public bool IsSalvage { get; init; }

    /// <summary>Whether persistent dirty bitmaps are copied, too.</summary>
    public bool CopiesBitmaps { get; init; }

    /// <summary>The bitmaps to copy, once the source is open.</summary>
    public BitmapCopy? Bitmaps { get; init; }

    /// <summary>Whether inconsistent bitmaps stay behind.</summary>
    public bool SkipsBrokenBitmaps { get; init; }

    public bool ShowsProgress { get; init; }

    public static ConvertArguments Parse(Arguments arguments)
    {
        OpenFlags target = ImageOpener.CacheFlags(arguments.Last("target-cache"), "unsafe", "cache") | OpenFlags.ReadWrite;
        OpenFlags source = ImageOpener.CacheFlags(arguments.Last("source-cache"), "writeback", "source cache") | OpenFlags.Sequential;
        CopyOptions copy = ParseCopy(arguments);
        Check(arguments);
        return new ConvertArguments
        {
            Target = arguments.Operands[^1],
            TargetIsOptions = arguments.Has("target-image-opts"),
            TargetFormat = arguments.Last("target-format") ?? (arguments.Has("target-image-opts") ? null : "raw"),
            SourceFlags = source,
            TargetFlags = target,
            Copy = copy,
            TargetOptions = [.. arguments.All("target-options")],
            Backing = arguments.Last("backing"),
            BackingFormat = arguments.Last("backing-format"),
            NoCreate = arguments.Has("no-create"),
            TargetIsZero = arguments.Has("target-is-zero"),
            IsSalvage = arguments.Has("salvage"),
            CopiesBitmaps = arguments.Has("bitmaps"),
            SkipsBrokenBitmaps = arguments.Has("skip-broken-bitmaps"),
            ShowsProgress = arguments.Has("progress"),
        };
    }

    /// <summary>The options to create the target with, and what the format must be able to do for them.</summary>
    /// <param name="driver">The format.</param>
    /// <returns>The options.</returns>
    public OptionSet CreateOptions(BlockDriver driver)
    {
        OptionSet options = CreateOptionText.Parse(TargetOptions);
        CreateOptionText.Check(driver, options);
        if (Copy.Compress && !ImageCreation.CanCompress(driver.Name))
        {
            throw new OptionException("Compression not supported for this file format");
        }

        if (Copy.Compress && (options.Peek("encryption") is "on" or "yes" or "true" or "y" || options.Peek("encrypt.format") is not null))
        {
            throw new OptionException("Compression and encryption not supported at the same time");
        }

        if (Backing is not null)
        {
            options.Set("backing_file", driver.SupportsBacking ? Backing : throw new OptionException($"Backing file not supported for file format '{driver.Name}'"));
            if (BackingFormat is not null)
            {
                options.Set("backing_fmt", BackingFormat);
            }
        }

        if (options.Has("backing_file"))
        {
            if (!options.Has("backing_fmt"))
            {
                throw new OptionException("Use of backing file requires explicit backing format");
            }
        }
        else if (BackingFormat is not null)
        {
            throw new OptionException($"{Target}: error while converting {driver.Name}: Backing format cannot be used without backing file");
        }

        return options;
    }

    private static CopyOptions ParseCopy(Arguments arguments)
    {
        long sparse = arguments.Size("sparse-size", "buffer size for sparse output") ?? 4096;
        if (sparse % 512 != 0 || sparse > MaxSparse)
        {
            throw Refuse($"Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to {MaxSparse}. Select 0 to disable sparse detection (fully allocates output).");
        }

        return new CopyOptions
        {
            SparseLength = (int)Math.Min(sparse, CopyOptions.MaxChunk),
            Parallel = (int)(arguments.Number("parallel", "number of coroutines", 1, 16) ?? 8),
            BytesPerSecond = arguments.Size("rate", "rate limit") ?? 0,
            Compress = arguments.Has("compress"),
            OutOfOrder = arguments.Has("oob-writes"),
            NamesOffsets = true,
            Offload = arguments.Has("copy-range-offloading"),
        };
    }

    private static void Check(Arguments arguments)
    {
        if (arguments.Operands.Count < 2)
        {
            throw Refuse("Must specify image file name");
        }

        RefuseTogether(arguments, "image-opts", "source-format", "--image-opts and --format are mutually exclusive");
        RefuseTogether(arguments, "target-image-opts", "target-format", "--image-opts and --format are mutually exclusive");
        RefuseTogether(arguments, "copy-range-offloading", "sparse-size", "Cannot enable copy offloading when -S is used");
        RefuseTogether(arguments, "copy-range-offloading", "compress", "Cannot enable copy offloading when -c is used");
        RefuseTogether(arguments, "copy-range-offloading", "salvage", "Cannot use copy offloading in salvaging mode");
        RefuseTogether(arguments, "no-create", "target-options", "-o has no effect when skipping image creation");
        RefuseWithout(arguments, "target-image-opts", "no-create", "--target-image-opts requires use of -n flag");
        RefuseWithout(arguments, "skip-broken-bitmaps", "bitmaps", "Use of --skip-broken-bitmaps requires --bitmaps");
        RefuseWithout(arguments, "target-is-zero", "no-create", "--target-is-zero requires use of -n flag");
        if (arguments.Has("backing") && arguments.Operands.Count > 2)
        {
            throw Refuse("Having a backing file for the target makes no sense when concatenating multiple input images");
        }

        if (arguments.Has("source-snapshot") && arguments.Operands.Count > 2)
        {
            throw Refuse("No support for concatenating multiple snapshot");
        }
    }

    private static void RefuseTogether(Arguments arguments, string one, string other, string message)
    {
        if (arguments.Has(one) && arguments.Has(other))
        {
            throw Refuse(message);
        }
    }

    private static void RefuseWithout(Arguments arguments, string one, string needed, string message)
    {
        if (arguments.Has(one) && !arguments.Has(needed))
        {
            throw Refuse(message);
        }
    }

    private static UsageException Refuse(string message) => new(message) { HasHint = false };
}
