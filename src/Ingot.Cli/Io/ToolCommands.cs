using System.Globalization;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>Commands about the tool itself: open, close, reopen, help, signals, and requests held back.</summary>
internal static class ToolCommands
{
    public static IoCommand[] All { get; } =
    [
        new("open", "o", 1, null, "snCro:ki:t:d:U", "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", "open the file specified by path", OpenAsync) { NeedsImage = false },
        new("close", "c", 0, 0, "", "", "close the current open file", CloseAsync),
        new("reopen", null, 0, null, "c:o:rw", "[(-r|-w)] [-c cache] [-o options]", "reopens an image with new options", ReopenAsync),
        new("break", null, 2, 2, "", "event tag", "sets a breakpoint on event and tags the stopped request as tag", BreakAsync),
        new("remove_break", null, 1, 1, "", "tag", "remove a breakpoint by tag", RemoveBreakAsync),
        new("resume", null, 1, 1, "", "tag", "resumes the request tagged as tag", ResumeAsync),
        new("wait_break", null, 1, 1, "", "tag", "waits for the suspension of a request", WaitBreakAsync),
        new("sleep", null, 1, 1, "", "", "waits for the given value in milliseconds", SleepAsync) { NeedsImage = false },
        new("sigraise", null, 1, 1, "", "signal", "raises a signal", RaiseAsync) { NeedsImage = false },
        new("abort", null, 0, 0, "", "", "simulate a program crash using abort(3)", AbortAsync) { NeedsImage = false },
        new("help", "?", 0, 1, "", "[command]", "help for one or all commands", HelpAsync) { NeedsImage = false },
        new("quit", "q", 0, null, "", "", "exit the program", QuitAsync) { NeedsImage = false },
    ];

    private static async IoTask<bool> OpenAsync(IoSession session, IoWords words)
    {
        IoWords.Require(words.Operands.Count <= 1);
        if (session.IsOpen)
        {
            return session.Report("file open already, try 'help close'");
        }

        try
        {
            string? name = words.Operands.FirstOrDefault();
            OptionSet options = name is not null && session.NamesAreOptions ? ImageOpener.ParseOptions(name) : new OptionSet();
            if (session.NamesAreOptions && words.Has('o'))
            {
                return session.Report("--image-opts and 'open -o' are mutually exclusive");
            }

            foreach (string text in words.All('o'))
            {
                options.Merge(KeyValueText.Parse(text));
            }

            OpenFlags flags = IoTool.Flags(words.Has('n') ? "none" : words.Last('t'), words.Last('d'), words.Has('r'))
                | (words.Has('U') ? OpenFlags.ForceShare : OpenFlags.None);
            await session.OpenAsync(new IoImage(session.NamesAreOptions ? null : name, options, null, flags) { IsSnapshot = words.Has('s'), CopiesOnRead = words.Has('C') });
            return true;
        }
        catch (Exception e) when (e is ErrnoException or UsageException)
        {
            return session.Report(e.Message);
        }
    }

    private static async IoTask<bool> CloseAsync(IoSession session, IoWords words)
    {
        await session.CloseAsync();
        return true;
    }

    private static async IoTask<bool> ReopenAsync(IoSession session, IoWords words)
    {
        IoWords.Require(words.Operands.Count == 0);
        if (words.Has('r') && words.Has('w'))
        {
            return session.Report("Only one -r/-w option may be given");
        }

        IoImage old = session.Image;
        try
        {
            IoImage image = Changed(old, session.Node, words);
            await session.CloseAsync();
            await session.OpenAsync(image);
            return true;
        }
        catch (Exception e) when (e is ErrnoException or UsageException)
        {
            if (!session.IsOpen)
            {
                await session.OpenAsync(old);
            }

            return session.Report((e.InnerException as ErrnoException)?.Message ?? e.Message);
        }
    }

    // What is not named stays as it is.
    private static IoImage Changed(IoImage image, BlockNode node, IoWords words)
    {
        const OpenFlags cache = OpenFlags.Direct | OpenFlags.NoFlush | OpenFlags.WriteThrough;
        OptionSet options = image.Options.Clone();
        foreach (string text in words.All('o'))
        {
            OptionSet more = KeyValueText.Parse(text);
            if (more.Has("read-only") && (words.Has('r') || words.Has('w')))
            {
                throw new OptionException("Cannot set both -r/-w and 'read-only'");
            }

            if (more.Has("cache") && words.Has('c'))
            {
                throw new OptionException("Cannot set both -c and the cache options");
            }

            RefuseFixed(more, node);
            if (DriverTable.Find(node.DriverName) is { } driver)
            {
                driver.ChangeOptions(options, more);
            }
            else
            {
                options.Merge(more);
            }
        }

        OpenFlags flags = words.Has('c') ? (image.Flags & ~cache) | ImageOpener.CacheFlags(words.Last('c'), "writeback", "cache") : image.Flags;
        flags = words.Has('r') ? flags & ~OpenFlags.ReadWrite : words.Has('w') ? flags | OpenFlags.ReadWrite : flags;
        return image with { Options = options, Flags = flags };
    }

    // Another driver, file or name would make it another node. What repeats them changes nothing and is taken out.
    private static void RefuseFixed(OptionSet options, BlockNode node)
    {
        foreach ((string name, string current) in ((string, string)[])[("driver", node.DriverName), ("filename", node.FileName), ("node-name", node.Name)])
        {
            if (options.TakeString(name) is { } value && value != current)
            {
                throw new OptionException($"Cannot change the option '{name}'");
            }
        }

        foreach ((string role, BlockNode child) in node.Children)
        {
            if (options.Has(role) && options.Peek(role) is null)
            {
                OptionSet below = options.TakeSet(role);
                RefuseFixed(below, child);
                if (!below.IsEmpty)
                {
                    options.Set(role, below);
                }
            }
        }
    }

    private static IoTask<bool> BreakAsync(IoSession session, IoWords words)
    {
        Errno errno = Errno.None;
        try
        {
            (BreakpointsOf(session.Node) ?? throw new ErrnoException(Errno.EOPNOTSUPP, "No breakpoints")).SetBreakpoint(words.Operands[0], words.Operands[1]);
        }
        catch (ErrnoException e)
        {
            errno = e.Errno;
        }

        return Told(session, errno, "Could not set breakpoint");
    }

    private static IoTask<bool> RemoveBreakAsync(IoSession session, IoWords words)
        => Told(session, BreakpointsOf(session.Node) is not { } node ? Errno.EOPNOTSUPP : node.RemoveBreakpoint(words.Operands[0]) ? Errno.None : Errno.ENOENT, $"Could not remove breakpoint {words.Operands[0]}");

    private static IoTask<bool> ResumeAsync(IoSession session, IoWords words)
        => Told(session, BreakpointsOf(session.Node) is not { } node ? Errno.EOPNOTSUPP : node.Resume(words.Operands[0]) ? Errno.None : Errno.ENOENT, "Could not resume request");

    private static async IoTask<bool> WaitBreakAsync(IoSession session, IoWords words)
    {
        while (BreakpointsOf(session.Node) is not { } node || !node.IsSuspended(words.Operands[0]))
        {
            await EventLoop.Current.DelayAsync(TimeSpan.FromMilliseconds(1));
        }

        return true;
    }

    private static IoTask<bool> Told(IoSession session, Errno errno, string what)
    {
        if (errno != Errno.None)
        {
            session.Context.Out.WriteLine($"{what}: {ErrnoException.Text(errno)}");
        }

        return new IoTask<bool>(errno == Errno.None);
    }

    private static IBreakpoints? BreakpointsOf(BlockNode? node)
    {
        for (; node is not null; node = node.File)
        {
            if (node is IBreakpoints breakpoints)
            {
                return breakpoints;
            }
        }

        return null;
    }

    private static async IoTask<bool> SleepAsync(IoSession session, IoWords words)
    {
        if (!int.TryParse(words.Operands[0], NumberStyles.None, CultureInfo.InvariantCulture, out int milliseconds))
        {
            throw new IoCommandException($"{words.Operands[0]} is not a valid number");
        }

        await EventLoop.Current.DelayAsync(TimeSpan.FromMilliseconds(milliseconds));
        return true;
    }

    private static IoTask<bool> RaiseAsync(IoSession session, IoWords words)
    {
        const int MaxSignal = 64;
        long signal = words.Number(0);
        if (signal > MaxSignal)
        {
            throw new IoCommandException($"signal argument '{words.Operands[0]}' is too large to be a valid signal");
        }

        session.Context.Out.Flush();
        _ = Libc.kill(Environment.ProcessId, (int)signal);
        return new IoTask<bool>(true);
    }

    private static IoTask<bool> AbortAsync(IoSession session, IoWords words)
    {
        session.Context.Out.Flush();
        Libc.abort();
        return new IoTask<bool>(false);
    }

    private static IoTask<bool> HelpAsync(IoSession session, IoWords words)
    {
        TextWriter o = session.Context.Out;
        if (words.Operands.Count == 0)
        {
            foreach (IoCommand command in IoCommandTable.All)
            {
                o.WriteLine(command.HelpLine);
            }

            o.WriteLine("\nUse 'help commandname' for extended help.");
            return new IoTask<bool>(true);
        }

        string name = words.Operands[0];
        if (IoCommandTable.Find(name) is not { } found)
        {
            throw new IoCommandException($"command {name} not found");
        }

        o.WriteLine(found.HelpLineAs(name));
        if (found.Details is not null)
        {
            o.WriteLine($"\n{found.Details}\n");
        }

        return new IoTask<bool>(true);
    }

    private static IoTask<bool> QuitAsync(IoSession session, IoWords words)
    {
        session.HasQuit = true;
        return new IoTask<bool>(true);
    }
}
