using System.Text;
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
        ["[-f FMT | --image-opts] [-r] [-s] [-n] [-t CACHE] [-d DISCARD] [-m] [-U] [-c COMMAND]... [IMAGE]"],
        [
            Option.Value('c', "cmd", "COMMAND", "a command; without any, commands are read from standard input"),
            CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Switch('r', "read-only", "open for reading"),
            Option.Switch('s', "snapshot", "keep the image as it is: what is written is lost at the end"),
            Option.Switch('n', "nocache", "bypass the page cache, the same as -t none"),
            Option.Switch('C', "copy-on-read", "write what is read from backing files into the image"),
            Option.Switch('m', "misalign", "use memory that O_DIRECT does not take"),
            Option.Value('t', "cache", "CACHE", "cache mode (writethrough)"),
            Option.Value('i', "aio", "AIO", "async-io backend (threads, native, io_uring)"),
            Option.Value('d', "discard", "MODE", "ignore or unmap (unmap)"),
            Option.Switch('k', "native-aio", "as --aio native"),
            Option.Value('T', "trace", "TRACE", "accepted for compatibility"),
            Option.Switch('V', "version", "print the version and exit"),
            CommonOptions.ForceShare, CommonOptions.Object,
        ],
        [
            ("IMAGE", "image file name (or specification with --image-opts)"),
            ("Commands", "see 'help'"),
        ],
        RunAsync)
    {
        LoopOptions = arguments => EventLoopOptions.Default with { Engine = arguments.Last("aio") == "threads" ? IoEngine.Threads : IoEngine.Auto },
    };

    /// <summary>How to open an image.</summary>
    /// <param name="cache">The cache mode, or null.</param>
    /// <param name="discard">The discard mode, or null.</param>
    /// <param name="isReadOnly">Whether writing is not wanted.</param>
    /// <returns>The flags.</returns>
    public static OpenFlags Flags(string? cache, string? discard, bool isReadOnly)
        => ImageOpener.CacheFlags(cache, "writethrough", "cache")
            | (isReadOnly ? OpenFlags.None : OpenFlags.ReadWrite)
            | discard switch
            {
                null or "unmap" or "on" => OpenFlags.None,
                "ignore" or "off" => OpenFlags.IgnoreDiscard,
                _ => throw new UsageException($"Invalid discard option: {discard}") { HasHint = false },
            };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        if (arguments.Has("version"))
        {
            context.Out.WriteLine($"{context.Program} version {Program.Version} (Ingot)");
            return 0;
        }

        if (arguments.Operands.Count > 1)
        {
            throw new UsageException("Expecting one image file name");
        }

        if (arguments.Last("aio") is { } aio && aio is not ("threads" or "native" or "io_uring"))
        {
            throw new UsageException($"Invalid aio option: {aio}") { HasHint = false };
        }

        var session = new IoSession(context) { Misaligns = arguments.Has("misalign"), NamesAreOptions = arguments.Has("image-opts") };
        try
        {
            if (arguments.Operands.Count == 1)
            {
                await session.OpenAsync(ImageOf(arguments, arguments.Operands[0]));
            }

            return await RunCommandsAsync(session, arguments) ? 0 : 1;
        }
        finally
        {
            await session.CloseAsync();
        }
    }

    private static IoImage ImageOf(Arguments arguments, string name)
    {
        if (arguments.Has("image-opts") && arguments.Has("format"))
        {
            throw new UsageException("--image-opts and -f are mutually exclusive") { HasHint = false };
        }

        ImageOpener.CheckCommonOptions(arguments, "format");
        OpenFlags flags = Flags(arguments.Has("nocache") ? "none" : arguments.Last("cache"), arguments.Last("discard"), arguments.Has("read-only")) | ImageOpener.CommonFlags(arguments);
        if (arguments.Has("native-aio") || arguments.Last("aio") == "native")
        {
            flags |= OpenFlags.NativeAio;
        }

        return new IoImage(
            arguments.Has("image-opts") ? null : name,
            arguments.Has("image-opts") ? ImageOpener.ParseOptions(name) : new OptionSet(),
            arguments.Last("format"),
            flags)
        {
            IsSnapshot = arguments.Has("snapshot"),
            CopiesOnRead = arguments.Has("copy-on-read"),
        };
    }

    /// <summary>Reads a command as it is: the runtime's reader of standard input would change names that are not UTF-8 to those of other files.</summary>
    /// <param name="input">Bytes as Latin-1.</param>
    /// <returns>A line; null at the end.</returns>
    internal static string? ReadLine(TextReader input) => input.ReadLine() is { } line ? NativeText.Decode(Encoding.Latin1.GetBytes(line)) : null;

    private static async IoTask<bool> RunCommandsAsync(IoSession session, Arguments arguments)
    {
        bool ok = true;
        if (arguments.Has("cmd"))
        {
            foreach (string line in arguments.All("cmd"))
            {
                ok &= session.HasQuit || await session.RunAsync(line);
            }

            return ok;
        }

        // Requests that nobody waits for go on while the next line is awaited.
        using var input = new StreamReader(Console.OpenStandardInput(), Encoding.Latin1, detectEncodingFromByteOrderMarks: false);
        while (!session.HasQuit)
        {
            session.Context.Out.Write($"{session.Context.Program}> ");
            session.Context.Out.Flush();
            if (await Offload.Run(() => ReadLine(input)) is not { } line)
            {
                break;
            }

            ok &= await session.RunAsync(line);
        }

        return ok;
    }
}
