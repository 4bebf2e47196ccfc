using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Crypto;
using Ingot.Drivers.Throttle;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>What a command needs of the world: the name it was called by, and where to print.</summary>
/// <param name="program">"qemu-img", "ingot img", or "ingot" for image commands at the top level.</param>
/// <param name="output">Standard output.</param>
/// <param name="error">Standard error.</param>
internal sealed class CommandContext(string program, TextWriter output, TextWriter error)
{
    private OutputStream? _output;

    public string Program { get; } = program;

    public TextWriter Out { get; } = output;

    public TextWriter Error { get; } = error;

    /// <summary>True when standard output is a terminal.</summary>
    public bool IsTerminal { get; init; }

    /// <summary>Set by -q: only errors are printed.</summary>
    public bool IsQuiet { get; set; }

    /// <summary>The context of this process.</summary>
    /// <param name="program">The name in messages.</param>
    /// <returns>The context.</returns>
    public static CommandContext ForProcess(string program) => ForStreams(program, DescriptorStream.Inherited(1), DescriptorStream.Inherited(2), Libc.isatty(1) == 1);

    /// <summary>A context that prints to streams that may fail.</summary>
    /// <param name="program">The name in messages.</param>
    /// <param name="output">Standard output; null when it is closed.</param>
    /// <param name="error">Standard error; null when it is closed.</param>
    /// <param name="isTerminal">Whether standard output is a terminal.</param>
    /// <returns>The context.</returns>
    public static CommandContext ForStreams(string program, Stream? output, Stream? error, bool isTerminal)
    {
        var stream = new OutputStream(output);
        return new(program, Open(stream, false), Open(new OutputStream(error), true)) { IsTerminal = isTerminal, _output = stream };
    }

    /// <summary>The same place under another name.</summary>
    /// <param name="program">The name in messages.</param>
    /// <returns>The context.</returns>
    public CommandContext Named(string program) => new(program, Out, Error) { IsTerminal = IsTerminal, _output = _output };

    /// <summary>Ends a command whose result nobody could read. When nobody wants it, there is no reason to complain.</summary>
    /// <param name="failure">Why output was lost.</param>
    /// <param name="status">The exit status of a failure.</param>
    /// <returns>The exit status.</returns>
    public int ReportLoss(IOException failure, int status)
    {
        if (failure.HResult != (int)Errno.EPIPE)
        {
            Report(failure.Message);
        }

        return status;
    }

    /// <summary>Writes what was printed, and tells whether anything was lost since the last call.</summary>
    /// <returns>Why, or null.</returns>
    public IOException? TakeOutputFailure()
    {
        Out.Flush();
        return _output?.TakeFailure();
    }

    public void Report(string message) => Error.WriteLine($"{Program}: {message}");

    public void Warn(string message) => Error.WriteLine($"{Program}: warning: {message}");

    /// <summary>
    /// Before a message of a command that has printed something: on a terminal that comes first. In a file or pipe it comes last, as with any C program,
    /// which is what scripts that put both streams into one place are used to.
    /// </summary>
    public void FlushTerminal()
    {
        if (IsTerminal)
        {
            Out.Flush();
        }
    }

    /// <summary>Prints a line, unless told to be quiet.</summary>
    /// <param name="line">The line.</param>
    public void Print(string line)
    {
        if (!IsQuiet)
        {
            Out.WriteLine(line);
        }
    }

    /// <summary>Secrets that --object gave.</summary>
    public SecretTable Secrets { get; } = new();

    /// <summary>Throttle groups that --object gave.</summary>
    public ThrottleTable Throttles { get; } = new();

    /// <summary>Makes the objects that --object describes.</summary>
    /// <param name="definitions">Pairs, or JSON objects, in the order given.</param>
    /// <exception cref="OptionException">One is of a kind that a tool without a guest has no use for, or wrong.</exception>
    public void AddObjects(IEnumerable<string> definitions)
    {
        foreach (string definition in definitions)
        {
            OptionSet options = definition.StartsWith('{') ? JsonText.Parse(definition, "--object") : KeyValueText.Parse(definition, "qom-type");
            string type = options.TakeRequired("qom-type");
            if (!ObjectKinds.TryAdd(type, options, Secrets, Throttles))
            {
                throw ObjectKinds.Refusal(type, options);
            }
        }
    }

    /// <summary>A graph for the images of a command. One that turns out to be wrong ends it.</summary>
    /// <returns>The graph.</returns>
    public BlockGraph NewGraph() => new() { Warn = WriteWarning, Tell = Out.WriteLine, Report = Report, Secrets = Secrets, Throttles = Throttles, Diverged = GiveUp };

    // After what was printed before.
    private void WriteWarning(string message)
    {
        Out.Flush();
        Error.WriteLine(message);
    }

    // What is known of an image that reads as something else than its copy is not worth to be continued.
    private void GiveUp(string message)
    {
        Out.Flush();
        Error.WriteLine(message);
        Environment.Exit(1);
    }

    private static StreamWriter Open(Stream stream, bool flush) => new(stream, NativeText.Encoding) { AutoFlush = flush, NewLine = "\n" };
}
