using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>img bitmap: changes the persistent dirty bitmaps of an image, one operation after another.</summary>
internal static class BitmapCommand
{
    private static readonly string[] Operations = ["add", "remove", "clear", "enable", "disable", "merge"];

    public static Command Command { get; } = new(
        "bitmap",
        "Perform modifications of the persistent bitmap in the image",
        ["( --merge SOURCE | --add | --remove | --clear |", "        --enable | --disable ).. [-f FMT | --image-opts]", "[ -b SRC_FILENAME [-F SOURCE_FMT]] [-g SIZE[KMGTPE]] [--object OBJDEF]", "FILENAME BITMAP"],
        [
            CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Switch('\0', "add", "creates BITMAP, enables to record future edits"),
            Option.Value('g', "granularity", "SIZE[KMGTPE]", "sets non-default bitmap granularity for --add to this size"),
            Option.Switch('\0', "remove", "removes BITMAP"),
            Option.Switch('\0', "clear", "clears BITMAP"),
            Option.Switch('\0', "enable", "starts recording future edits to BITMAP"),
            Option.Switch('\0', "disable", "stops recording future edits to BITMAP"),
            Option.Value('\0', "merge", "SOURCE", "merges contents of bitmap SOURCE into BITMAP"),
            Option.Value('b', "source-file", "SRC_FILENAME", "select alternative source file for --merge"),
            Option.Value('F', "source-format", "SRC_FMT", "specify format for SRC_FILENAME explicitly"),
            CommonOptions.Object,
        ],
        [("FILENAME", "image file name (or specification with --image-opts)"), ("BITMAP", "the bitmap's name")],
        RunAsync);

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        long? granularity = arguments.Size("granularity", "granularity") is > 0 and var size ? size : null;
        if (arguments.Operands.Count != 2)
        {
            throw Refuse("Expecting filename and bitmap name");
        }

        bool adds = arguments.Has("add");
        string? message = !Operations.Any(arguments.Has) ? "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge"
            : granularity is not null && !adds ? "granularity only supported with --add"
            : arguments.Has("source-format") && !arguments.Has("source-file") ? "-F only supported with -b"
            : arguments.Has("source-file") && !arguments.Has("merge") ? "Merge bitmap source file only supported with --merge"
            : null;
        if (message is not null)
        {
            throw Refuse(message);
        }

        BlockGraph graph = context.NewGraph();
        BlockNode? source = null;
        BlockNode node = await ImageOpener.OpenAsync(graph, arguments, arguments.Operands[0], OpenFlags.ReadWrite | OpenFlags.NoBacking);
        try
        {
            if (arguments.Last("source-file") is { } name)
            {
                source = await ImageOpener.OpenByNameAsync(graph, name, arguments.Last("source-format"), OpenFlags.NoBacking | ImageOpener.CommonFlags(arguments));
            }

            foreach ((string operation, string? value) in arguments.Options.Where(o => Operations.Contains(o.Name)))
            {
                await ChangeAsync(node, source ?? node, operation, value, arguments.Operands[1], granularity);
            }
        }
        catch
        {
            await CloseAsync(source);
            await node.CloseAsync().Status();
            throw;
        }

        await CloseAsync(source);
        await node.CloseAsync();
        return 0;
    }

    private static async IoTask CloseAsync(BlockNode? node)
    {
        if (node is not null)
        {
            await node.CloseAsync();
        }
    }

    private static async IoTask ChangeAsync(BlockNode node, BlockNode source, string operation, string? value, string bitmap, long? granularity)
    {
        try
        {
            if (node is not Qcow2Node image)
            {
                throw operation == "add"
                    ? new ErrnoException(Errno.ENOTSUP, $"Can't store persistent bitmaps to {node.FileName}: Operation not supported")
                    : new ErrnoException(Errno.ENOENT, $"Dirty bitmap '{bitmap}' not found");
            }

            await (operation switch
            {
                "add" => image.AddBitmapAsync(bitmap, granularity),
                "remove" => image.RemoveBitmapAsync(bitmap),
                "clear" => image.ClearBitmapAsync(bitmap),
                "merge" => MergeAsync(image, source, value!, bitmap),
                _ => image.EnableBitmapAsync(bitmap, operation == "enable"),
            });
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"Operation {operation} on bitmap {bitmap} failed: {e.Message}", e);
        }
    }

    private static async IoTask MergeAsync(Qcow2Node image, BlockNode source, string name, string bitmap)
    {
        await image.GetBitmapAsync(bitmap); // as QEMU, which looks for the target first
        DirtyBitmap content = source is Qcow2Node other ? await other.GetBitmapAsync(name) : throw new ErrnoException(Errno.ENOENT, $"Dirty bitmap '{name}' not found");
        if (content.Length != image.Length)
        {
            throw new ErrnoException(Errno.EINVAL, $"Bitmaps are of different sizes (destination size is {image.Length}, source size is {content.Length}) and can't be merged");
        }

        await image.MergeBitmapAsync(bitmap, content);
    }

    private static UsageException Refuse(string message) => new(message) { HasHint = false };
}
