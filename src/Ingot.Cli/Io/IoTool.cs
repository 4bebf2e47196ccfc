using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>io: runs small commands on an image, for tests and for people who look into images.</summary>
internal static class IoTool
{
    public static Command Command { get; } = new(
        "",
        "Read and write parts of an image",
        ["[-f FMT | --image-opts] [-r] [-n] [-t CACHE] [-U] [-c COMMAND]... IMAGE"],
        [
            Option.Value('c', "cmd", "COMMAND", "a command; without any, commands are read from standard input"),
            CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Switch('r', "read-only", "open for reading"),
            Option.Switch('n', "nocache", "bypass the page cache, the same as -t none"),
            Option.Value('t', "cache", "CACHE", "cache mode (writeback)"),
            Option.Value('i', "aio", "AIO", "async-io backend (threads, native, io_uring)"),
            Option.Value('d', "discard", "MODE", "ignore or unmap (unmap)"),
            Option.Switch('k', "native-aio", "accepted for compatibility"),
            Option.Switch('V', "version", "print the version and exit"),
            CommonOptions.ForceShare, CommonOptions.Object,
        ],
        [
            ("IMAGE", "image file name (or specification with --image-opts)"),
            ("Commands", string.Join('\n', IoCommands.Help)),
        ],
        RunAsync)
    {
        LoopOptions = arguments => EventLoopOptions.Default with { Engine = arguments.Last("aio") == "threads" ? IoEngine.Threads : IoEngine.Auto },
    };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        if (arguments.Has("version"))
        {
            context.Out.WriteLine($"{context.Program} version {Program.Version} (Ingot)");
            return 0;
        }

        if (arguments.Operands.Count != 1)
        {
            throw new UsageException("Expecting one image file name");
        }

        BlockNode node = await OpenAsync(context, arguments);
        try
        {
            var commands = new IoCommands(context, node);
            bool ok = true;
            foreach (string line in arguments.Has("cmd") ? arguments.All("cmd") : ReadInput())
            {
                if (IoCommands.IsQuit(line))
                {
                    break;
                }

                ok &= await commands.RunAsync(line);
                context.Out.Flush();
            }

            return ok ? 0 : 1;
        }
        finally
        {
            await node.CloseAsync();
        }
    }

    private static async IoTask<BlockNode> OpenAsync(CommandContext context, Arguments arguments)
    {
        OpenFlags flags = ImageOpener.CacheFlags(arguments.Has("nocache") ? "none" : arguments.Last("cache"), "writeback", "cache");
        flags |= arguments.Has("read-only") ? OpenFlags.None : OpenFlags.ReadWrite;
        flags |= arguments.Last("discard") is "ignore" or "off" ? OpenFlags.IgnoreDiscard : OpenFlags.None;
        string name = arguments.Operands[0];
        try
        {
            return await ImageOpener.OpenAsync(context.NewGraph(), arguments, name, flags);
        }
        catch (ErrnoException e)
        {
            string reason = e.InnerException?.Message ?? e.Message;
            throw new ErrnoException(e.Errno, $"can't open{(arguments.Has("image-opts") ? "" : $" device {name}")}: {reason}", e);
        }
    }

    private static IEnumerable<string> ReadInput()
    {
        while (Console.In.ReadLine() is { } line)
        {
            yield return line;
        }
    }
}
