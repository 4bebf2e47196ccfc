using Ingot.Drivers;

namespace Ingot.Cli;

/// <summary>The image tool: its list of commands and what is common to them.</summary>
internal static class ImageTool
{
    /// <summary>All commands, in the order of help.</summary>
    public static IReadOnlyList<Command> Commands { get; } =
    [
        AmendCommand.Command,
        BenchCommand.Command,
        BitmapCommand.Command,
        CheckCommand.Command,
        CommitCommand.Command,
        CompareCommand.Command,
        ConvertCommand.Command,
        CreateCommand.Command,
        DdCommand.Command,
        InfoCommand.Command,
        MapCommand.Command,
        MeasureCommand.Command,
        RebaseCommand.Command,
        ResizeCommand.Command,
        SnapshotCommand.Command,
    ];

    public static int Run(CommandContext context, IReadOnlyList<string> words)
    {
        // There are no trace events to choose from.
        while (words.Count > 0 && IsTrace(words[0], out bool hasValue))
        {
            if (!hasValue && words.Count == 1)
            {
                return Refuse(context, words[0] == "-T" ? "option requires an argument -- 'T'" : "option '--trace' requires an argument");
            }

            words = [.. words.Skip(hasValue ? 1 : 2)];
        }

        if (words.Count == 0)
        {
            return Refuse(context, "Not enough arguments");
        }

        switch (words[0])
        {
            case "-h" or "--help":
                PrintHelp(context);
                return 0;
            case "-V" or "--version":
                context.Out.WriteLine($"{context.Program} version {Program.Version} (Ingot)");
                return 0;
        }

        if (words[0].StartsWith('-'))
        {
            return Refuse(context, words[0].StartsWith("--", StringComparison.Ordinal) ? $"unrecognized option '{words[0]}'" : $"invalid option -- '{words[0][1..]}'");
        }

        Command? command = Commands.FirstOrDefault(c => c.Name == words[0]);
        return command is null ? Refuse(context, $"Command not found: {words[0]}") : CommandRunner.Run(command, context, [.. words.Skip(1)]);
    }

    private static bool IsTrace(string word, out bool hasValue)
    {
        hasValue = word.StartsWith("--trace=", StringComparison.Ordinal) || (word.StartsWith("-T", StringComparison.Ordinal) && word.Length > 2);
        return hasValue || word is "-T" or "--trace";
    }

    private static int Refuse(CommandContext context, string message)
    {
        context.Report(message);
        context.Error.WriteLine($"Try '{context.Program} --help' for more info");
        return 1;
    }

    private static void PrintHelp(CommandContext context)
    {
        TextWriter o = context.Out;
        o.WriteLine($"{context.Program} version {Program.Version} (Ingot)");
        o.WriteLine("Disk image utility.  Usage:");
        o.WriteLine();
        o.WriteLine($"  {context.Program} [standard options] COMMAND [--help | command options]");
        o.WriteLine();
        o.WriteLine("Standard options:");
        o.WriteLine("  -h, --help");
        o.WriteLine("     display this help and exit");
        o.WriteLine("  -V, --version");
        o.WriteLine("     display version info and exit");
        o.WriteLine("  -T, --trace TRACE");
        o.WriteLine("     accepted for compatibility");
        o.WriteLine();
        o.WriteLine($"Recognized commands (run {context.Program} COMMAND --help for command-specific help):");
        o.WriteLine();
        foreach (Command command in Commands)
        {
            o.WriteLine($"  {command.Name} - {command.Summary}");
        }

        o.WriteLine();
        o.WriteLine("Supported image formats:");
        o.WriteLine();
        o.WriteLine($"  {string.Join(' ', DriverTable.All.Select(d => d.Name).Order(StringComparer.Ordinal))}");
    }
}
