using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>The one binary: called by the name of one of QEMU's tools it is that tool, else its first word picks one.</summary>
internal static class Program
{
    /// <summary>The version in --version.</summary>
    public const string Version = "0.1.0";

    private static readonly string[] TopLevelImageCommands = ["info", "create", "convert", "check", "map", "resize", "compare", "measure"];

    private static int Main(string[] words)
    {
        // A file that may not grow any more (ulimit -f) is an error of the write, as with a full disk.
        Libc.signal(Libc.SIGXFSZ, Libc.SIG_IGN);
        string calledAs = Path.GetFileNameWithoutExtension(Environment.GetCommandLineArgs()[0]);
        CommandContext context = CommandContext.ForProcess(calledAs.StartsWith("qemu-", StringComparison.Ordinal) ? calledAs : "ingot");
        try
        {
            return Dispatch(context, NativeArguments.Take(words));
        }
        catch (ErrnoException e) when (e.Errno == Errno.EILSEQ)
        {
            context.Report(e.Message);
            return 1;
        }
    }

    /// <summary>Picks a tool and runs it.</summary>
    /// <param name="context">Its program is the name that the process was called by, or "ingot".</param>
    /// <param name="words">The command line without that name.</param>
    /// <returns>The exit status.</returns>
    public static int Dispatch(CommandContext context, IReadOnlyList<string> words)
    {
        int status = context.Program switch
        {
            "qemu-img" => ImageTool.Run(context, words),
            "qemu-io" => CommandRunner.Run(IoTool.Command, context, words),
            "qemu-nbd" => NotHere(context),
            "qemu-storage-daemon" => CommandRunner.Run(DaemonCommand.Command, context, words),
            _ => DispatchWord(context, words),
        };
        return context.TakeOutputFailure() is { } failure && status == 0 ? context.ReportLoss(failure, 1) : status;
    }

    private static int DispatchWord(CommandContext context, IReadOnlyList<string> words)
    {
        string word = words.Count == 0 ? "--help" : words[0];
        string[] rest = [.. words.Skip(1)];
        switch (word)
        {
            case "img":
                return ImageTool.Run(context.Named("ingot img"), rest);
            case "serve":
                return CommandRunner.Run(ServeCommand.Command, context.Named("ingot serve"), rest);
            case "storage-daemon":
                return CommandRunner.Run(DaemonCommand.Command, context.Named("ingot storage-daemon"), rest);
            case "io":
                return CommandRunner.Run(IoTool.Command, context.Named("ingot io"), rest);
            case "rings":
                return RingsTool.Run(context.Named("ingot rings"), rest);
            case "nbd":
                return NotHere(context.Named($"ingot {word}"));
            case "-h" or "--help" or "help":
                PrintHelp(context);
                return words.Count == 0 ? 1 : 0;
            case "-V" or "--version" or "version":
                context.Out.WriteLine($"ingot version {Version}");
                return 0;
            case not null when TopLevelImageCommands.Contains(word):
                return ImageTool.Run(context, words);
            default:
                context.Report($"Command not found: {word}");
                bool isOfImages = ImageTool.Commands.Any(command => command.Name == word);
                context.Error.WriteLine(isOfImages ? $"Did you mean 'ingot img {word}'?" : "Try 'ingot --help' for more info");
                return 1;
        }
    }

    private static int NotHere(CommandContext context)
    {
        context.Report("this tool is not part of this version of ingot yet");
        return 1;
    }

    private static void PrintHelp(CommandContext context)
    {
        TextWriter o = context.Out;
        o.WriteLine("Serves and handles disk images.  Usage:");
        o.WriteLine();
        o.WriteLine("  ingot COMMAND [ARGUMENT...]");
        o.WriteLine();
        o.WriteLine("Commands:");
        o.WriteLine("  serve           Serve an image over a vhost-user-blk socket");
        o.WriteLine("  img             Everything that qemu-img does: ingot img --help lists it");
        o.WriteLine("  io              Read and write parts of an image, as qemu-io does");
        o.WriteLine("  nbd             Serve an image over NBD, as qemu-nbd does (not in this version)");
        o.WriteLine("  rings           Measure and compare the rings of VIRTIO, NVMe and io_uring");
        o.WriteLine("  storage-daemon  Serve several images from one process, as qemu-storage-daemon does");
        o.WriteLine();
        o.WriteLine("Image commands that need no 'img' before them:");
        foreach (Command command in ImageTool.Commands.Where(c => TopLevelImageCommands.Contains(c.Name)))
        {
            o.WriteLine($"  {command.Name,-15} {command.Summary}");
        }

        o.WriteLine();
        o.WriteLine("Called through a link named qemu-img, qemu-io, qemu-nbd or qemu-storage-daemon, ingot behaves as that tool.");
    }
}
