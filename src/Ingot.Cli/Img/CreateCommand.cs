using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>img create: makes an empty image, or one on top of another.</summary>
internal static class CreateCommand
{
    private const int Sector = 512;

    public static Command Command { get; } = new(
        "create",
        "Create and format new image file",
        ["[-f FMT] [-o FMT_OPTS] [-b BACKING_FILENAME [-F BACKING_FMT]]", "[--object OBJDEF] [--untrusted] [-u] FILENAME [SIZE[bkKMGTPE]]"],
        [
            CommonOptions.Quiet,
            Option.Value('f', "format", "FMT", "specifies format of the new image, default is raw"),
            Option.Value('o', "options", "FMT_OPTS", "format-specific options ('-o list' for list)"),
            Option.Value('b', "backing", "BACKING_FILENAME", "stack new image on top of BACKING_FILENAME\n(for formats which support stacking)"),
            Option.Value('F', "backing-format", "BACKING_FMT", "specify format of BACKING_FILENAME"),
            Option.Switch('u', "backing-unsafe", "do not fail if BACKING_FILENAME can not be read"),
            CommonOptions.Untrusted, CommonOptions.Object,
        ],
        [
            ("FILENAME", "image file to create.  It will be overwritten if it exists"),
            ("SIZE", "image size with optional suffix (powers of 1024)\nSIZE is required unless BACKING_FILENAME is given,\nin which case it will be the size of that image"),
        ],
        RunAsync)
    {
        IsAct = true,
    };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        string format = arguments.Last("format") ?? "raw";
        IReadOnlyList<string> operands = arguments.Operands;
        if (CreateOptionText.AsksForHelp(arguments.All("options")))
        {
            CreateOptionText.PrintHelp(context.Out, ImageCreation.FindDriver(format), operands.Count > 0);
            return 0;
        }

        if (operands.Count == 0)
        {
            throw new UsageException("Expecting image file name");
        }

        if (operands.Count > 2)
        {
            throw new UsageException($"Unexpected argument: {operands[2]}");
        }

        long? size = operands.Count == 2 ? Arguments.ParseSize(operands[1], "image size") : null;
        try
        {
            await CreateAsync(context, arguments, format, operands[0], size);
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"{operands[0]}: {e.Message}", e);
        }

        return 0;
    }

    private static async IoTask CreateAsync(CommandContext context, Arguments arguments, string format, string fileName, long? size)
    {
        BlockDriver driver = ImageCreation.FindCreator(format);
        ImageCreation.CheckProtocol(fileName);
        OptionSet options = CreateOptionText.Parse(arguments.All("options"));
        CreateOptionText.Check(driver, options);
        AddBacking(driver, arguments, options);
        if (options.TakeSize("size") is { } optionSize)
        {
            size = size is null ? optionSize : throw new OptionException("The image size must be specified only once");
        }

        BlockGraph graph = context.NewGraph();
        if (options.Peek("backing_file") is { } backing)
        {
            OpenFlags trust = arguments.Has("untrusted") ? OpenFlags.Untrusted : OpenFlags.None;
            size = await CheckBackingAsync(graph, fileName, backing, options.Peek("backing_fmt"), trust, size, arguments.Has("backing-unsafe"));
        }

        if (size is not { } bytes)
        {
            throw new OptionException("Image creation needs a size parameter");
        }

        context.Print($"Formatting '{fileName}', {CreateOptionText.Describe(driver, options, bytes)}");
        context.Out.Flush();
        try
        {
            await ImageCreation.CreateAsync(graph, driver, fileName, bytes, options);
        }
        catch (ErrnoException e) when (e.Errno == Errno.EFBIG && Libc.FileSizeLimit() is null)
        {
            string hint = driver.CreateOptions.Any(c => c.Name == "cluster_size") ? " (try using a larger cluster size)" : "";
            throw new ErrnoException(e.Errno, $"The image size is too large for file format '{driver.Name}'{hint}", e);
        }
    }

    private static void AddBacking(BlockDriver driver, Arguments arguments, OptionSet options)
    {
        if (arguments.Last("backing") is { } backing)
        {
            options.Set("backing_file", driver.SupportsBacking ? backing : throw new OptionException($"Backing file not supported for file format '{driver.Name}'"));
        }

        if (arguments.Last("backing-format") is { } format)
        {
            options.Set("backing_fmt", driver.SupportsBacking ? format : throw new OptionException($"Backing file format not supported for file format '{driver.Name}'"));
        }
    }

    // Opens the backing file to see that it can be used, and how large it is. None of its data is read, so that a VM may be writing to it meanwhile.
    private static async IoTask<long?> CheckBackingAsync(BlockGraph graph, string fileName, string backing, string? format, OpenFlags trust, long? size, bool isUnsafe)
    {
        if (backing.Length == 0)
        {
            throw new OptionException("Expected backing file name, got empty string");
        }

        string full = ImageNames.Resolve(fileName, backing);
        if (full == fileName)
        {
            throw new OptionException("Error: Trying to create an image with the same filename as the backing file");
        }

        if (isUnsafe)
        {
            return format is null ? throw new OptionException("Backing file specified without backing format") : size;
        }

        string detected;
        try
        {
            if (format is not null)
            {
                BlockNode node = await graph.OpenFileAsync(full, format, OpenFlags.NoIo | OpenFlags.ForceShare | trust);
                size ??= (node.Length + Sector - 1) / Sector * Sector;
                await node.CloseAsync();
                return size;
            }

            detected = await DetectAsync(graph, full, trust);
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"{e.Message}\nCould not open backing image.", e);
        }

        throw new OptionException($"Backing file specified without backing format\nDetected format of {detected}.");
    }

    private static async IoTask<string> DetectAsync(BlockGraph graph, string full, OpenFlags trust)
    {
        BlockNode node = await graph.OpenFileAsync(full, null, OpenFlags.NoIo | OpenFlags.NoBacking | OpenFlags.ForceShare | trust);
        string name = node.DriverName;
        await node.CloseAsync();
        return name;
    }
}
