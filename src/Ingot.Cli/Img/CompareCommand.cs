using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Jobs;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>img compare: whether two images read the same.</summary>
internal static class CompareCommand
{
    private const int ReadErrorStatus = 4;

    public static Command Command { get; } = new(
        "compare",
        "Check if two images have the same contents",
        ["[--image-opts | [-f FMT] [-F FMT]] [-s]", "[-T CACHE] [-U] [--object OBJDEF] FILENAME1 FILENAME2"],
        [
            CommonOptions.Quiet, CommonOptions.Progress,
            Option.Value('f', "a-format", "FMT", "specify FILENAME1 image format explicitly") with { Aliases = ["left-format"] },
            Option.Value('F', "b-format", "FMT", "specify FILENAME2 image format explicitly") with { Aliases = ["right-format"] },
            Option.Switch('\0', "image-opts", "indicates that FILENAMEs are complete image specifications\ninstead of file names (incompatible with --a-format and --b-format)"),
            Option.Switch('s', "strict", "strict mode, also check if sizes are equal"),
            CommonOptions.Cache, CommonOptions.ForceShare, CommonOptions.Untrusted, CommonOptions.Object,
        ],
        [("FILENAME1, FILENAME2", "image files (or specifications) to compare")],
        RunAsync)
    {
        ErrorStatus = 2,
    };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        if (arguments.Operands.Count != 2)
        {
            throw new UsageException("Expecting two image file names");
        }

        if (arguments.Has("image-opts") && (arguments.Has("a-format") || arguments.Has("b-format")))
        {
            throw new OptionException("--image-opts and --format are mutually exclusive");
        }

        OpenFlags flags;
        try
        {
            flags = ImageOpener.CacheFlags(arguments.Last("cache"), "writeback", "source cache") | OpenFlags.Sequential;
        }
        catch (UsageException e)
        {
            throw new OptionException(e.Message);
        }

        BlockGraph graph = context.NewGraph();
        BlockNode first = await ImageOpener.OpenAsync(graph, arguments, arguments.Operands[0], flags, "a-format");
        try
        {
            BlockNode second = await ImageOpener.OpenAsync(graph, arguments, arguments.Operands[1], flags, "b-format");
            try
            {
                return await CompareAsync(context, arguments, first, second);
            }
            finally
            {
                await second.CloseAsync();
            }
        }
        finally
        {
            await first.CloseAsync();
        }
    }

    private static async IoTask<int> CompareAsync(CommandContext context, Arguments arguments, BlockNode first, BlockNode second)
    {
        var job = new CompareJob(first, second, arguments.Has("strict"))
        {
            NameOf = node => arguments.Operands[node == first ? 0 : 1],
            LengthWarning = () => context.Print("Warning: Image size mismatch!"),
        };
        var progress = ProgressMeter.Start(context, arguments.Has("progress"), job.Length);
        job.Progress = progress.Report;
        CompareResult result;
        try
        {
            result = await job.RunAsync();
        }
        catch (ErrnoException e)
        {
            context.FlushTerminal();
            context.Report(e.Message);
            return ReadErrorStatus;
        }

        switch (result.Outcome)
        {
            case CompareOutcome.LengthDiffers:
                context.Print("Strict mode: Image size mismatch!");
                break;
            case CompareOutcome.StatusDiffers:
                context.Print($"Strict mode: Offset {result.Offset} block status mismatch!");
                break;
            case CompareOutcome.ContentDiffers:
                context.Print($"Content mismatch at offset {result.Offset}!");
                break;
            default:
                context.Print("Images are identical.");
                break;
        }

        progress.Break();
        return result.Outcome == CompareOutcome.Identical ? 0 : 1;
    }
}
