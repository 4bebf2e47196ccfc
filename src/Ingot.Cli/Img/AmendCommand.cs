using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;

namespace Ingot.Cli;

/// <summary>img amend: changes format options of an existing image.</summary>
internal static class AmendCommand
{
    private const long Scale = 1_000_000;

    public static Command Command { get; } = new(
        "amend",
        "Update format-specific options of the image",
        ["[-f FMT | --image-opts] [-t CACHE] [--force] [-p] [-q]", "[--object OBJDEF] -o OPTIONS FILENAME"],
        [
            Option.Value('o', "options", "OPTIONS", "comma-separated list of format-specific options ('-o help' for a list)"),
            CommonOptions.Quiet, CommonOptions.Progress, CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Value('t', "cache", "CACHE", "cache mode for FILENAME (writeback)"),
            Option.Switch('\0', "force", "allow certain unsafe operations"),
            CommonOptions.Object,
        ],
        [("FILENAME", "image file name (or specification with --image-opts)")],
        RunAsync)
    {
        IsAct = true,
    };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        List<string> texts = [.. arguments.All("options")];
        if (texts.Count == 0)
        {
            throw new UsageException("Must specify options (-o)");
        }

        bool asksForHelp = CreateOptionText.AsksForHelp(texts);
        if (asksForHelp && arguments.Last("format") is { } format)
        {
            PrintHelp(context, ImageCreation.FindDriver(format));
            return 0;
        }

        if (arguments.Operands.Count != 1)
        {
            throw new UsageException("Expecting one image file name") { HasHint = false };
        }

        OpenFlags flags = ImageOpener.CacheFlags(arguments.Last("cache"), "writeback", "cache") | OpenFlags.ReadWrite;
        BlockNode node = await ImageOpener.OpenAsync(context.NewGraph(), arguments, arguments.Operands[0], flags);
        try
        {
            BlockDriver driver = ImageCreation.FindDriver(node.DriverName);
            if (asksForHelp)
            {
                PrintHelp(context, driver);
            }
            else
            {
                await AmendAsync(context, arguments, node, driver);
            }
        }
        catch
        {
            await node.CloseAsync().Status();
            throw;
        }

        await node.CloseAsync();
        return 0;
    }

    private static async IoTask AmendAsync(CommandContext context, Arguments arguments, BlockNode node, BlockDriver driver)
    {
        IAmendable amendable = node as IAmendable ?? throw Unsupported(driver);
        OptionSet options = CreateOptionText.Parse(arguments.All("options"));
        foreach (string name in options.DottedNames)
        {
            if (!driver.AmendOptions.Any(o => o.Name == name))
            {
                bool isForCreation = driver.CreateOptions.Any(o => o.Name == name);
                throw new OptionException($"Invalid parameter '{name}'" + (isForCreation ? "\nThis option is only supported for image creation" : ""));
            }
        }

        var progress = ProgressMeter.Start(context, arguments.Has("progress"), Scale);
        await amendable.AmendAsync(options, arguments.Has("force"), (done, total) => progress.Report((long)((double)done / total * Scale)));
        progress.End(Scale);
    }

    private static OptionException Unsupported(BlockDriver driver) => new($"Format driver '{driver.Name}' does not support option amendment");

    private static void PrintHelp(CommandContext context, BlockDriver driver)
    {
        if (driver.AmendOptions.Count == 0)
        {
            throw Unsupported(driver);
        }

        context.Out.WriteLine($"Amend options for '{driver.Name}':");
        CreateOptionText.PrintList(context.Out, driver.AmendOptions);
    }
}
