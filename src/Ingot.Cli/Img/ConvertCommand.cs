using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Jobs;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>img convert: copies an image into another format or place.</summary>
internal static class ConvertCommand
{
    public static Command Command { get; } = new(
        "convert",
        "Copy one image to another with optional format conversion",
        [
            "[-f SRC_FMT|--image-opts] [-T SRC_CACHE]",
            "[-O TGT_FMT|--target-image-opts] [-o TGT_OPTS] [-t TGT_CACHE] [-n]",
            "[-B BACKING_FILENAME -F BACKING_FMT]",
            "SRC_FILENAME [SRC_FILENAME2 [...]] TGT_FILENAME",
        ],
        ConvertArguments.Options,
        [
            ("SRC_FILENAME", "source image file name (or specification with --image-opts)"),
            ("TGT_FILENAME", "target (output) image file name"),
        ],
        RunAsync)
    {
        IsAct = true,
    };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        string targetFormat = arguments.Last("target-format") ?? "raw";
        if (CreateOptionText.AsksForHelp(arguments.All("target-options")))
        {
            CreateOptionText.PrintHelp(context.Out, ImageCreation.FindDriver(targetFormat), arguments.Operands.Count > 1);
            return 0;
        }

        var snapshot = SnapshotChoice.Parse(context, arguments.Last("source-snapshot"));
        var plan = ConvertArguments.Parse(arguments);
        BlockGraph graph = context.NewGraph();
        var sources = new List<BlockNode>();
        using var interrupts = new Interrupts();
        try
        {
            foreach (string name in arguments.Operands.SkipLast(1))
            {
                sources.Add(await ImageOpener.OpenAsync(graph, arguments, name, plan.SourceFlags, "source-format"));
            }

            if (snapshot is not null)
            {
                await snapshot.LoadAsync(sources[0]);
            }

            BitmapCopy? bitmaps = !plan.CopiesBitmaps ? null
                : sources.Count == 1 ? await BitmapCopy.PrepareAsync(sources[0], plan.SkipsBrokenBitmaps)
                : throw new OptionException("Copying bitmaps only possible with single source");
            await ConvertAsync(context, graph, sources, plan with { Bitmaps = bitmaps }, interrupts);
            return 0;
        }
        catch (OperationCanceledException)
        {
            return interrupts.ExitStatus;
        }
        finally
        {
            foreach (BlockNode source in sources)
            {
                await source.CloseAsync();
            }
        }
    }

    private static async IoTask ConvertAsync(CommandContext context, BlockGraph graph, List<BlockNode> sources, ConvertArguments plan, Interrupts interrupts)
    {
        if (plan.NoCreate)
        {
            BlockNode old = await ImageOpener.OpenAsync(graph, plan.Target, plan.TargetIsOptions, plan.TargetFormat, plan.TargetFlags);
            await CopyAndCloseAsync(context, sources, old, plan, interrupts);
            return;
        }

        BlockDriver driver = ImageCreation.FindCreator(plan.TargetFormat ?? "raw");
        ImageCreation.CheckProtocol(plan.Target);
        using NewFile file = await CreateAsync(graph, sources, driver, plan);
        interrupts.LastAct = file.Dispose;
        OpenFlags flags = plan.HasBacking ? plan.TargetFlags : plan.TargetFlags | OpenFlags.NoBacking;
        try
        {
            BlockNode target = await ImageOpener.OpenNewAsync(graph, file.Path, driver.Name, CreateOptionText.KeySecrets(CreateOptionText.Parse(plan.TargetOptions)), flags);
            await CopyAndCloseAsync(context, sources, target, plan, interrupts);
            file.Commit();
        }
        catch (ErrnoException e)
        {
            throw file.Named(e);
        }
    }

    private static async IoTask<NewFile> CreateAsync(BlockGraph graph, List<BlockNode> sources, BlockDriver driver, ConvertArguments plan)
    {
        OptionSet options = plan.CreateOptions(driver);
        long length = ConvertJob.TargetLength(sources);
        NewFile? file = null;
        try
        {
            file = await NewFile.PrepareAsync(graph, plan.Target);
            options.TakeSize("size"); // which the sources decide
            await ImageCreation.CreateAsync(graph, driver, file.Path, length, options);
            return file;
        }
        catch (ErrnoException e)
        {
            file?.Dispose();
            string message = file?.Rename(e.Message) ?? e.Message;
            throw new ErrnoException(e.Errno, $"{plan.Target}: error while converting {driver.Name}: {message}", e);
        }
    }

    private static async IoTask CopyAndCloseAsync(CommandContext context, List<BlockNode> sources, BlockNode target, ConvertArguments plan, Interrupts interrupts)
    {
        try
        {
            await CopyAsync(context, sources, target, plan, interrupts);
        }
        catch
        {
            // The first failure is the one to report; what close says about a target that is thrown away or incomplete adds nothing.
            await target.CloseAsync().Status();
            throw;
        }

        await target.CloseAsync();
    }

    private static async IoTask CopyAsync(CommandContext context, List<BlockNode> sources, BlockNode target, ConvertArguments plan, Interrupts interrupts)
    {
        if (plan.TargetIsZero && plan.HasBacking)
        {
            throw new OptionException("Cannot use --target-is-zero when the destination image has a backing file");
        }

        if (plan.Bitmaps is not null)
        {
            await BitmapCopy.CheckTargetAsync(target);
        }

        bool isZero = plan.TargetIsZero || (!plan.NoCreate && !plan.HasBacking && (target.Features & BlockFeatures.ZeroInitialized) != 0);
        CopyOptions options = plan.Copy with
        {
            TargetIsZero = isZero,
            Below = plan.HasBacking ? sources[0].Backing : null,
            Salvage = plan.IsSalvage ? problem => Tell(context, problem) : null,
        };
        var job = new ConvertJob(sources, target, options);
        var progress = ProgressMeter.Start(context, plan.ShowsProgress, job.Length);
        try
        {
            await job.RunAsync(progress.Report, interrupts.Token);
        }
        catch
        {
            progress.Break();
            throw;
        }

        if (plan.Bitmaps is { } bitmaps)
        {
            await bitmaps.CopyAsync(target, context.Warn);
        }

        if ((plan.TargetFlags & OpenFlags.NoFlush) == 0)
        {
            await target.FlushAsync();
        }

        progress.End(job.Length);
    }
    private static void Tell(CommandContext context, SalvageProblem problem)
    {
        if (!context.IsQuiet)
        {
            context.Warn($"error while reading {(problem.IsStatus ? "block status at " : "")}offset {problem.Offset}: {ErrnoException.Text(problem.Error.Errno)}");
        }
    }
}
