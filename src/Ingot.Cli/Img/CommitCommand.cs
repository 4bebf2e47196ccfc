using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Jobs;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>img commit: writes what an overlay holds into its backing file.</summary>
internal static class CommitCommand
{
    public static Command Command { get; } = new(
        "commit",
        "Commit image to its backing file",
        ["[-f FMT | --image-opts] [-t CACHE_MODE] [-b BASE_IMG] [-d]", "[-r RATE] [--object OBJDEF] [--untrusted] [-q] [-p] FILENAME"],
        [
            CommonOptions.Quiet, CommonOptions.Progress, CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Value('t', "cache", "CACHE_MODE", "image cache mode (writeback)"),
            Option.Switch('d', "drop", "skip emptying FILENAME on completion"),
            Option.Value('b', "base", "BASE_IMG", "image in the backing chain to which to commit changes\ninstead of the previous one (implies --drop)"),
            Option.Value('r', "rate", "RATE", "I/O rate limit in bytes per second"),
            CommonOptions.Object,
        ],
        [("FILENAME", "name of the image file to operate on")],
        RunAsync)
    {
        IsAct = true,
    };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        long rate = arguments.Size("rate", "rate limit") ?? 0;
        if (arguments.Operands.Count != 1)
        {
            throw new UsageException("Expecting one image file name");
        }

        OpenFlags flags = ImageOpener.CacheFlags(arguments.Last("cache"), "writeback", "cache") | OpenFlags.Sequential;
        BlockGraph graph = context.NewGraph();
        graph.WritableBacking = await FindBaseAsync(graph, arguments, flags);
        BlockNode top = await ImageOpener.OpenAsync(graph, arguments, arguments.Operands[0], flags | OpenFlags.ReadWrite);
        try
        {
            await CommitAsync(context, arguments, top, graph.WritableBacking, rate);
        }
        catch
        {
            await top.CloseAsync().Status();
            throw;
        }

        await top.CloseAsync();
        context.Print("Image committed.");
        return 0;
    }

    // A look before the base is opened for writing: which of the chain's files is it?
    private static async IoTask<int> FindBaseAsync(BlockGraph graph, Arguments arguments, OpenFlags flags)
    {
        BlockNode top = await ImageOpener.OpenAsync(graph, arguments, arguments.Operands[0], flags | OpenFlags.ReadWrite);
        try
        {
            if (arguments.Last("base") is not { } name)
            {
                return top.Backing is not null ? 1 : throw new OptionException("Image does not have a backing file");
            }

            BlockNode found = ImageNames.FindInChain(top, name) ?? throw new OptionException($"Did not find '{name}' in the backing chain of '{arguments.Operands[0]}'");
            int depth = 0;
            for (BlockNode node = top; node != found; node = node.Backing!)
            {
                depth++;
            }

            return depth;
        }
        finally
        {
            await top.CloseAsync();
        }
    }

    private static async IoTask CommitAsync(CommandContext context, Arguments arguments, BlockNode top, int depth, long rate)
    {
        BlockNode? below = top;
        for (int i = 0; i < depth; i++)
        {
            below = below?.Backing;
        }

        var job = new CommitJob(top, below ?? throw new OptionException($"The backing chain of '{arguments.Operands[0]}' has changed"), rate);
        var progress = ProgressMeter.Start(context, arguments.Has("progress"), job.Length);
        job.Progress = progress.Report;
        try
        {
            await CopyAsync(job);
            if (!arguments.Has("drop") && !arguments.Has("base"))
            {
                await EmptyAsync(job, arguments.Operands[0]);
            }
        }
        catch
        {
            progress.Break();
            throw;
        }

        progress.End(job.Length);
    }

    private static async IoTask CopyAsync(CommitJob job)
    {
        try
        {
            await job.RunAsync();
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"Block job failed: {ErrnoException.Text(e.Errno)}", e);
        }
    }

    private static async IoTask EmptyAsync(CommitJob job, string name)
    {
        try
        {
            await job.EmptyTopAsync();
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"Failed to empty {name}: {e.Message}", e);
        }
    }
}
