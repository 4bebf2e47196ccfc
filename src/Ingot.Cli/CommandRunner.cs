using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>Runs one command from its words to its exit status; the one place where failures become messages.</summary>
internal static class CommandRunner
{
    public static int Run(Command command, CommandContext context, IReadOnlyList<string> words)
    {
        Arguments arguments;
        try
        {
            arguments = Parse(command, words);
        }
        catch (GetOptException e)
        {
            context.Error.WriteLine($"{FullName(command, context)}: {e.Message}");
            PrintHint(command, context);
            return 1;
        }

        if (arguments.Has("help"))
        {
            PrintHelp(command, context);
            return 0;
        }

        context.IsQuiet = arguments.Has("quiet");
        int status;
        try
        {
            status = EventLoop.RunMain(() => GuardAsync(command, context, arguments), command.LoopOptions(arguments));
        }
        finally
        {
            context.Out.Flush();
        }

        return context.TakeOutputFailure() is { } failure && !command.IsAct && status == 0 ? context.ReportLoss(failure, command.ErrorStatus) : status;
    }

    private static Arguments Parse(Command command, IReadOnlyList<string> words)
    {
        if (!command.LastIsOperand || words.Count == 0 || words[^1].Length < 2 || words[^1][0] != '-' || !char.IsDigit(words[^1][1]))
        {
            return GetOpt.Parse(command.AllOptions, words);
        }

        Arguments arguments = GetOpt.Parse(command.AllOptions, [.. words.Take(words.Count - 1)]);
        arguments.Operands.Add(words[^1]);
        return arguments;
    }

    private static string FullName(Command command, CommandContext context) => command.Name.Length == 0 ? context.Program : $"{context.Program} {command.Name}";

    private static async IoTask<int> GuardAsync(Command command, CommandContext context, Arguments arguments)
    {
        try
        {
            if (command.AllOptions.Contains(CommonOptions.Object))
            {
                context.AddObjects(arguments.All("object"));
            }

            return await command.Run(context, arguments);
        }
        catch (UsageException e)
        {
            Report(context, e.Message);
            if (e.HasHint)
            {
                PrintHint(command, context);
            }

            return 1;
        }
        catch (ErrnoException e)
        {
            bool isLimited = e.Errno == Errno.EFBIG && Libc.FileSizeLimit() is not null;
            Report(context, isLimited ? $"{e.Message} (this process may write files of {Libc.FileSizeLimit()} bytes, see 'ulimit -f')" : e.Message);
            return command.ErrorStatus;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The runtime's own messages name no file.
            Report(context, ErrnoException.Text(ErrnoException.NumberOf(e)));
            return command.ErrorStatus;
        }
    }

    // What a command printed before it failed comes first, also when both streams are one.
    private static void Report(CommandContext context, string message)
    {
        context.Out.Flush();
        context.Report(message);
    }

    private static void PrintHint(Command command, CommandContext context) => context.Error.WriteLine($"Try '{FullName(command, context)} --help' for more info");

    private static void PrintHelp(Command command, CommandContext context)
    {
        TextWriter o = context.Out;
        o.WriteLine($"{command.Summary}.  Usage:");
        o.WriteLine();
        o.WriteLine($"  {FullName(command, context)} {string.Join("\n        ", command.Synopsis)}");
        o.WriteLine();
        o.WriteLine("Arguments:");
        foreach (Option option in command.AllOptions)
        {
            string letter = option.Short == '\0' ? "" : $"-{option.Short}, ";
            string argument = option.Argument is null ? "" : $" {option.Argument}";
            WriteItem(o, $"{letter}--{option.Long}{argument}", option.Help);
        }

        foreach ((string name, string help) in command.Operands)
        {
            WriteItem(o, name, help);
        }

        o.Flush();
    }

    private static void WriteItem(TextWriter o, string head, string help)
    {
        o.WriteLine($"  {head}");
        foreach (string line in help.Split('\n'))
        {
            o.WriteLine($"     {line}");
        }
    }
}
