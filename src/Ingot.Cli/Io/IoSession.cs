using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.CopyOnRead;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>The io tool between two commands: the open image, how it was opened, and requests that nobody waits for.</summary>
/// <param name="context">Where to print.</param>
internal sealed class IoSession(CommandContext context)
{
    private readonly Stack<BlockNode> _nodes = new(); // the image, and its temporary overlay
    private readonly InFlightCounter _inFlight = new();
    private IoImage? _opened;

    public CommandContext Context { get; } = context;

    /// <summary>--misalign: buffers start at an address that O_DIRECT does not take.</summary>
    public bool Misaligns { get; init; }

    /// <summary>--image-opts: also the operand of `open` is a specification.</summary>
    public bool NamesAreOptions { get; init; }

    public bool HasQuit { get; set; }

    public bool IsOpen => _nodes.Count > 0;

    /// <summary>The open image.</summary>
    public BlockNode Node => _nodes.Peek();

    /// <summary>What the open image was opened with.</summary>
    public IoImage Image => _opened!;

    /// <summary>Runs a command line; what fails is told.</summary>
    /// <param name="line">The command.</param>
    /// <returns>Whether it succeeded.</returns>
    public async IoTask<bool> RunAsync(string line)
    {
        string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        if (words.Length == 0)
        {
            return true;
        }

        bool done = IoCommandTable.Find(words[0]) is { } command ? await RunAsync(command, words) : Complain($"command \"{words[0]}\" not found");
        Context.Out.Flush();
        return done;
    }

    /// <summary>Opens an image. The caller tells what goes wrong.</summary>
    /// <param name="image">The image.</param>
    /// <returns>The task.</returns>
    public async IoTask OpenAsync(IoImage image)
    {
        BlockGraph graph = Context.NewGraph();
        BlockNode node = await image.OpenAsync(graph);
        _nodes.Push(node);
        _opened = image;
        try
        {
            if (image.IsSnapshot)
            {
                _nodes.Push(await TemporaryOverlay.OpenAsync(graph, node));
            }

            if (image.CopiesOnRead)
            {
                _nodes.Push(image.CopyOnRead(_nodes.Peek()));
            }
        }
        catch
        {
            await CloseAsync();
            throw;
        }
    }

    /// <summary>Waits for all requests and closes the image.</summary>
    /// <returns>The task.</returns>
    public async IoTask CloseAsync()
    {
        await DrainAsync();
        while (_nodes.TryPop(out BlockNode? node))
        {
            await node.CloseAsync();
        }
    }

    /// <summary>Waits for the requests that nobody waits for.</summary>
    /// <returns>The task.</returns>
    public IoTask DrainAsync() => _inFlight.WaitIdleAsync();

    /// <summary>Runs a request that nobody waits for.</summary>
    /// <param name="request">Tells how it went itself; must not fail.</param>
    public void Detach(Func<IoTask> request) => DetachedAsync(request).Spawn();

    /// <summary>Sends a request that may lie outside of the image.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="request">The request.</param>
    /// <returns>How it ended.</returns>
    public async IoTask<Errno> TryAsync(long offset, long length, Func<BlockNode, IoTask> request)
    {
        if (offset > Node.Length || length > Node.Length - offset)
        {
            return Errno.EIO;
        }

        try
        {
            await request(Node);
            return Errno.None;
        }
        catch (ErrnoException e)
        {
            return e.Errno;
        }
    }

    /// <summary>Tells an error that concerns the tool rather than a request.</summary>
    /// <param name="message">The message, without the program's name.</param>
    /// <returns>False.</returns>
    public bool Report(string message) => Complain($"{Context.Program}: {message}");

    private async IoTask DetachedAsync(Func<IoTask> request)
    {
        _inFlight.Enter();
        await request();
        Context.Out.Flush();
        _inFlight.Exit();
    }

    private bool Complain(string message)
    {
        Context.Out.Flush();
        Context.Error.WriteLine(message);
        return false;
    }

    private async IoTask<bool> RunAsync(IoCommand command, string[] words)
    {
        if (Refusal(command, words) is { } refusal)
        {
            return Complain(refusal);
        }

        try
        {
            return await command.RunAsync(this, IoWords.Parse(words[1..], command.Letters));
        }
        catch (IoCommandException e) when (e.IsAboutFile)
        {
            return Complain(e.Message);
        }
        catch (IoCommandException e)
        {
            Context.Out.WriteLine(e.Message);
            return false;
        }
        catch (GetOptException e)
        {
            Complain($"{words[0]}: {e.Message}");
            Context.Out.WriteLine(command.HelpLine);
            return false;
        }
        catch (IoUsageException)
        {
            Context.Out.WriteLine(command.HelpLine);
            return false;
        }
    }

    private string? Refusal(IoCommand command, string[] words)
    {
        int count = words.Length - 1;
        if (command.NeedsImage && !IsOpen)
        {
            return "no file open, try 'help open'";
        }

        if (count < command.MinArguments || count > command.MaxArguments)
        {
            string expected = command.MaxArguments is not { } most ? $"at least {command.MinArguments}"
                : most == command.MinArguments ? $"{most}"
                : $"between {command.MinArguments} and {most}";
            return $"bad argument count {count} to {words[0]}, expected {expected} arguments";
        }

        return command.Writes && Node.IsReadOnly ? $"{Context.Program}: Block node is read-only" : null;
    }
}

/// <summary>What the io tool opens: a name or options, and flags.</summary>
/// <param name="Name">A file name; null with options alone.</param>
/// <param name="Options">Options as --image-opts or `open -o` give them; empty for a plain name.</param>
/// <param name="Format">The format of a file name, or null to probe.</param>
/// <param name="Flags">How to open.</param>
internal sealed record IoImage(string? Name, OptionSet Options, string? Format, OpenFlags Flags)
{
    /// <summary>--snapshot: what is written is lost at the end.</summary>
    public bool IsSnapshot { get; init; }

    /// <summary>-C: what is read from a backing file is stored in the image.</summary>
    public bool CopiesOnRead { get; init; }

    /// <summary>Puts copying over the open image.</summary>
    /// <param name="node">The image.</param>
    /// <returns>The node that copies.</returns>
    public BlockNode CopyOnRead(BlockNode node) => !node.IsReadOnly ? CopyOnReadDriver.Over(node)
        : throw new ErrnoException(Errno.EINVAL, $"can't open{(Name is null ? "" : $" device {Name}")}: Can't use copy-on-read on read-only device");

    /// <summary>Opens the image.</summary>
    /// <param name="graph">Where named nodes go.</param>
    /// <returns>The node.</returns>
    public async IoTask<BlockNode> OpenAsync(BlockGraph graph)
    {
        OpenFlags flags = IsSnapshot ? Flags & ~OpenFlags.ReadWrite : Flags;
        try
        {
            if (Options.IsEmpty && Name is not null)
            {
                return await ImageOpener.OpenByNameAsync(graph, Name, Format, flags);
            }

            OptionSet options = Options.Clone();
            if (Format is not null)
            {
                options.Set("driver", Format);
            }

            return Name is null ? await graph.OpenAsync(options, flags) : await graph.OpenNamedAsync(Name, options, flags);
        }
        catch (ErrnoException e)
        {
            string reason = (e.InnerException as ErrnoException)?.Message ?? e.Message;
            throw new ErrnoException(e.Errno, $"can't open{(Name is null ? "" : $" device {Name}")}: {reason}", e);
        }
    }
}
