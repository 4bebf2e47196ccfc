using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Jobs;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>img rebase: gives an overlay another backing file, with its content kept (safe mode) or not looked at (-u).</summary>
internal static class RebaseCommand
{
    public static Command Command { get; } = new(
        "rebase",
        "Change backing file of the image",
        [
            "[-f FMT | --image-opts] [-t CACHE] [-q] [-U] [-p]",
            "[-b BACKING_FILENAME [-F BACKING_FMT] [-T BACKING_CACHE]] [-u]",
            "[--object OBJDEF] [-c] [--untrusted] FILENAME",
        ],
        [
            CommonOptions.Quiet, CommonOptions.Progress, CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Value('t', "cache", "CACHE", "cache mode for FILENAME (writeback)"),
            Option.Value('b', "backing", "BACKING_FILENAME|\"\"", "rebase onto this file (or no backing file)"),
            Option.Value('F', "backing-format", "BACKING_FMT", "specify format for BACKING_FILENAME"),
            Option.Value('T', "backing-cache", "CACHE", "BACKING_FILENAME cache mode (writeback)"),
            Option.Switch('u', "backing-unsafe", "only change the name: the content of the old and the new backing file\nis not looked at, nor need they exist"),
            Option.Switch('c', "compress", "compress what is copied (when the format supports this)"),
            CommonOptions.ForceShare,
            CommonOptions.Object,
        ],
        [("FILENAME", "image file name (or specification with --image-opts)")],
        RunAsync)
    {
        IsAct = true,
    };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        if (arguments.Operands.Count != 1)
        {
            throw new UsageException("Expecting one image file name");
        }

        bool isUnsafe = arguments.Has("backing-unsafe");
        if (!isUnsafe && !arguments.Has("backing"))
        {
            throw new UsageException("Must specify backing file (-b) or use unsafe mode (-u)");
        }

        OpenFlags flags = ImageOpener.CacheFlags(arguments.Last("cache"), "writeback", "cache") | OpenFlags.Sequential | OpenFlags.ReadWrite | (isUnsafe ? OpenFlags.NoBacking : 0);
        OpenFlags backingFlags = ImageOpener.CacheFlags(arguments.Last("backing-cache"), "writeback", "source cache") | OpenFlags.Sequential;
        if (arguments.Options.RemoveAll(o => o.Name == CommonOptions.ForceShare.Long) > 0)
        {
            backingFlags |= OpenFlags.ForceShare; // for what is read: the image itself is written to, and shared with no other writer
        }

        BlockGraph graph = context.NewGraph();
        BlockNode image = await ImageOpener.OpenAsync(graph, arguments, arguments.Operands[0], flags);
        try
        {
            await RebaseAsync(context, graph, arguments, image, backingFlags);
        }
        catch
        {
            await image.CloseAsync().Status();
            throw;
        }

        await image.CloseAsync();
        return 0;
    }

    private static async IoTask RebaseAsync(CommandContext context, BlockGraph graph, Arguments arguments, BlockNode image, OpenFlags backingFlags)
    {
        string? format = arguments.Last("backing-format");
        if (arguments.Has("compress") && !ImageCreation.CanCompress(image.DriverName))
        {
            throw new OptionException("Compression not supported for this file format");
        }

        if (format is not null && DriverTable.Find(format) is null)
        {
            throw new OptionException($"Invalid format name: '{format}'");
        }

        string? name = arguments.Last("backing") is { Length: > 0 } given ? given : null;
        var progress = ProgressMeter.Start(context, arguments.Has("progress"), image.Length);
        try
        {
            if (!arguments.Has("backing-unsafe"))
            {
                await CopyAsync(graph, image, name, format, backingFlags, arguments.Has("compress"), progress);
            }

            await ChangeAsync(image, name, format);
        }
        catch
        {
            progress.Break();
            throw;
        }

        progress.End(image.Length);
    }

    private static async IoTask CopyAsync(BlockGraph graph, BlockNode image, string? name, string? format, OpenFlags flags, bool compress, ProgressMeter progress)
    {
        BlockNode? known = name is null ? null : ImageNames.FindInChain(image, name);
        BlockNode? opened = name is null || known is not null ? null : await OpenBackingAsync(graph, image, name, format, flags);
        try
        {
            RefuseWithoutFormat(name, format);
            var job = new RebaseJob(image, image.Backing, known ?? opened, compress) { Progress = progress.Report };
            await job.RunAsync();
        }
        finally
        {
            if (opened is not null)
            {
                await opened.CloseAsync();
            }
        }
    }

    private static async IoTask<BlockNode> OpenBackingAsync(BlockGraph graph, BlockNode image, string name, string? format, OpenFlags flags)
    {
        try
        {
            return await graph.OpenFileAsync(ImageNames.Resolve(image.BaseFileName, name), format, flags);
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"Could not open new backing file '{name}': {e.Message}", e);
        }
    }

    private static async IoTask ChangeAsync(BlockNode image, string? name, string? format)
    {
        RefuseWithoutFormat(name, format);
        await image.FlushAsync();
        try
        {
            await image.ChangeBackingAsync(name, name is null ? null : format);
        }
        catch (ErrnoException e)
        {
            throw e.Errno == Errno.ENOSPC
                ? new ErrnoException(e.Errno, $"Could not change the backing file to '{name}': No space left in the file header", e)
                : new ErrnoException(e.Errno, $"Could not change the backing file to '{name}': {e.Message}", e);
        }
    }

    // Nobody should have to guess later what the file is.
    private static void RefuseWithoutFormat(string? name, string? format)
    {
        if (name is not null && format is null)
        {
            throw new OptionException($"Could not change the backing file to '{name}': backing format must be specified");
        }
    }
}
