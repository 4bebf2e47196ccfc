using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Crypto;
using Ingot.Drivers.Qcow2;
using Ingot.Io;

namespace Ingot.Cli;

/// <summary>img measure: how long the file of a new image would be.</summary>
internal static class MeasureCommand
{
    private const int Sector = 512;
    private const long DefaultCluster = 64 << 10;

    public static Command Command { get; } = new(
        "measure",
        "Calculate file size required for a new image",
        ["[-f FMT|--image-opts] [-o OPTIONS] [-O OUTPUT_FMT]", "[--output OFMT] [--object OBJDEF] [-l SNAPSHOT_PARAM]", "(--size SIZE | FILENAME)"],
        [
            Option.Value('O', "target-format", "FMT", "desired target/output image format (default raw)"),
            Option.Value('o', "options", "OPTIONS", "options of the new image"),
            Option.Value('s', "size", "SIZE", "measure file size for given image size"),
            CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Value('l', "snapshot", "SNAPSHOT", "use this snapshot in FILENAME as source"),
            CommonOptions.Output, CommonOptions.ForceShare, CommonOptions.Object,
        ],
        [("FILENAME", "measure file size required to convert from FILENAME")],
        RunAsync);

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        bool isJson = CommonOptions.IsJson(arguments);
        long? size = arguments.Size("size", "image size");
        Check(arguments);
        BlockDriver driver = ImageCreation.FindDriver(arguments.Last("target-format") ?? "raw");
        OptionSet options = ParseOptions(context, driver, arguments);
        if (driver.Name is not ("raw" or "qcow2" or "luks"))
        {
            throw new OptionException($"Block driver '{driver.Name}' does not support size measurement");
        }

        (Qcow2Size result, long? bitmaps) = size is { } bytes
            ? (driver.Name == "qcow2" ? Qcow2Measure.ForSize(bytes, options) : Whole(driver, bytes, options), null)
            : await MeasureSourceAsync(context, arguments, driver, options);
        Print(context, result, bitmaps, isJson);
        return 0;
    }

    private static void Check(Arguments arguments)
    {
        bool hasSize = arguments.Has("size");
        if (arguments.Operands.Count > 1)
        {
            throw Refuse("At most one filename argument is allowed.");
        }

        if (hasSize && arguments.Operands.Count == 1)
        {
            throw Refuse("--size N cannot be used together with a filename.");
        }

        if (arguments.Operands.Count == 0 && (arguments.Has("format") || arguments.Has("image-opts") || arguments.Has("snapshot")))
        {
            throw Refuse("--image-opts, -f, and -l require a filename argument.");
        }

        if (!hasSize && arguments.Operands.Count == 0)
        {
            throw Refuse("Either --size N or one filename must be specified.");
        }
    }

    private static OptionSet ParseOptions(CommandContext context, BlockDriver driver, Arguments arguments)
    {
        OptionSet options = CreateOptionText.Parse(arguments.All("options"));
        try
        {
            CreateOptionText.Check(driver, options);
        }
        catch (OptionException e)
        {
            throw new UsageException($"{e.Message}\n{context.Program}: Invalid options for file format '{driver.Name}'") { HasHint = false };
        }

        return options;
    }

    private static async IoTask<(Qcow2Size Size, long? Bitmaps)> MeasureSourceAsync(CommandContext context, Arguments arguments, BlockDriver driver, OptionSet options)
    {
        var snapshot = SnapshotChoice.Parse(context, arguments.Last("snapshot"));
        BlockNode node = await ImageOpener.OpenAsync(context.NewGraph(), arguments, arguments.Operands[0], OpenFlags.Sequential);
        try
        {
            if (snapshot is not null)
            {
                await snapshot.LoadAsync(node);
            }

            long length = (node.Length + Sector - 1) / Sector * Sector;
            if (driver.Name != "qcow2")
            {
                return (Whole(driver, length, options), null);
            }

            // Both ends must be able to hold bitmaps for their size to be shown.
            ImageInfo info = await node.GetInfoAsync();
            bool hasBitmaps = node.DriverName == "qcow2" && options.Peek("compat") is not ("0.10" or "v2") && info.Specific?.Any(s => s is ("compat", "1.1")) == true;
            long cluster = options.Peek("cluster_size") is string text && SizeText.TryParse(text, out long given) ? given : DefaultCluster;
            long? bitmaps = hasBitmaps && node is Qcow2Node image ? await image.MeasureBitmapsAsync(cluster) : null;
            return (await Qcow2Measure.ForSourceAsync(length, (offset, count) => ExtentAtAsync(node, offset, count), options), bitmaps);
        }
        finally
        {
            await node.CloseAsync();
        }
    }

    private static async IoTask<Extent> ExtentAtAsync(BlockNode node, long offset, long length)
        => offset >= node.Length
            ? new Extent(offset, length, ExtentFlags.Zero)
            : (await ExtentWalker.GetChainExtentAsync(node, offset, Math.Min(length, node.Length - offset))).Extent;

    // Formats that have a place for every byte.
    private static Qcow2Size Whole(BlockDriver driver, long size, OptionSet options)
    {
        long length = driver.Name == "luks" ? LuksDriver.MeasureFile(size, options) : (size + Sector - 1) / Sector * Sector;
        return new Qcow2Size(length, length);
    }

    private static void Print(CommandContext context, Qcow2Size size, long? bitmaps, bool isJson)
    {
        if (!isJson)
        {
            context.Out.WriteLine($"required size: {size.Required}");
            context.Out.WriteLine($"fully allocated size: {size.FullyAllocated}");
            if (bitmaps is not null)
            {
                context.Out.WriteLine($"bitmaps size: {bitmaps}");
            }

            return;
        }

        var json = new JsonPrinter(context.Out);
        json.BeginObject();
        if (bitmaps is { } bytes)
        {
            json.Member("bitmaps", bytes);
        }

        json.Member("required", size.Required);
        json.Member("fully-allocated", size.FullyAllocated);
        json.EndObject();
    }

    private static UsageException Refuse(string message) => new(message) { HasHint = false };
}
