namespace Ingot.Cli;

/// <summary>The ring lab: rings of VIRTIO, NVMe and io_uring side by side.</summary>
internal static class RingsTool
{
    private static readonly Command[] Commands = [RingsBenchCommand.Command, RingsCompareCommand.Command];

    public static int Run(CommandContext context, IReadOnlyList<string> words)
    {
        string word = words.Count == 0 ? "--help" : words[0];
        if (word is "-h" or "--help")
        {
            PrintHelp(context);
            return words.Count == 0 ? 1 : 0;
        }

        // Only 'bench --processes' starts it.
        if (word == RingsDeviceCommand.Command.Name)
        {
            return CommandRunner.Run(RingsDeviceCommand.Command, context, [.. words.Skip(1)]);
        }

        Command? command = Array.Find(Commands, c => c.Name == word);
        if (command is null)
        {
            context.Report($"Command not found: {word}");
            context.Error.WriteLine($"Try '{context.Program} --help' for more info");
            return 1;
        }

        return CommandRunner.Run(command, context, [.. words.Skip(1)]);
    }

    private static void PrintHelp(CommandContext context)
    {
        context.Out.WriteLine("Rings of VIRTIO, NVMe and io_uring side by side.  Usage:");
        context.Out.WriteLine();
        context.Out.WriteLine($"  {context.Program} COMMAND [ARGUMENT...]");
        context.Out.WriteLine();
        context.Out.WriteLine("Commands:");
        foreach (Command command in Commands)
        {
            context.Out.WriteLine($"  {command.Name,-8} {command.Summary}");
        }
    }
}
