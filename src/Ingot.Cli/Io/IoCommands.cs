using System.Diagnostics;
using System.Globalization;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>The commands of the io tool on one open image.</summary>
/// <param name="context">Where to print.</param>
/// <param name="node">The image.</param>
internal sealed class IoCommands(CommandContext context, BlockNode node)
{
    private const byte DefaultPattern = 0xcd;

    private static readonly Option[] TransferOptions =
    [
        Option.Value('P', "pattern", "BYTE", ""), Option.Switch('q', "quiet", ""), Option.Switch('z', "zero", ""), Option.Switch('u', "unmap", ""),
        Option.Switch('f', "fua", ""), Option.Switch('n', "no-fallback", ""), Option.Switch('C', "machine", ""), Option.Switch('c', "compressed", ""),
    ];

    public static string[] Help { get; } =
    [
        "read [-q] [-P PATTERN] OFFSET LENGTH",
        "write [-q] [-f] [-c] [-z [-u] [-n] | -P PATTERN] OFFSET LENGTH",
        "discard [-q] OFFSET LENGTH",
        "flush",
        "length",
        "quit",
    ];

    public static bool IsQuit(string line) => line.Trim() is "quit" or "q";

    /// <summary>Runs one command; what fails is printed.</summary>
    /// <param name="line">The command.</param>
    /// <returns>Whether it succeeded.</returns>
    public async IoTask<bool> RunAsync(string line)
    {
        string[] words = line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        if (words.Length == 0)
        {
            return true;
        }

        string verb = words[0];
        try
        {
            switch (verb)
            {
                case "read" or "r" or "aio_read":
                    return await TransferAsync("read", words);
                case "write" or "w" or "aio_write":
                    return await TransferAsync("write", words);
                case "discard" or "d":
                    return await TransferAsync("discard", words);
                case "flush" or "f" or "aio_flush":
                    await node.FlushAsync();
                    return true;
                case "length" or "l":
                    context.Out.WriteLine(Size(node.Length));
                    return true;
                default:
                    context.Out.WriteLine($"command \"{verb}\" not found");
                    return false;
            }
        }
        catch (Exception e) when (e is UsageException or GetOptException)
        {
            context.Out.WriteLine(e.Message);
            return false;
        }
        catch (ErrnoException e)
        {
            context.Out.WriteLine($"{verb} failed: {e.Message}");
            return false;
        }
    }

    private async IoTask<bool> TransferAsync(string verb, string[] words)
    {
        Arguments arguments = GetOpt.Parse(TransferOptions, [.. words.Skip(1)]);
        if (arguments.Operands.Count != 2)
        {
            throw new UsageException($"bad argument count {words.Length - 1} to {words[0]}, expected at least 2 arguments");
        }

        long offset = ParseNumber(arguments.Operands[0]);
        long length = ParseNumber(arguments.Operands[1]);
        byte? pattern = ParsePattern(arguments.Last("pattern"));
        if (pattern is not null && arguments.Has("zero"))
        {
            throw new UsageException("Only one of -z, -P, and -s can be specified at the same time");
        }

        if (verb != "read" && node.IsReadOnly)
        {
            throw new UsageException("Block node is read-only");
        }

        if (offset > node.Length || length > node.Length - offset)
        {
            throw new ErrnoException(Errno.EIO, ErrnoException.Text(Errno.EIO));
        }

        if (length > int.MaxValue && verb != "discard" && !arguments.Has("zero"))
        {
            throw new UsageException($"length cannot exceed {int.MaxValue}, given {length}");
        }

        long started = Stopwatch.GetTimestamp();
        long? mismatch = verb switch
        {
            "read" => await ReadAsync(offset, (int)length, pattern),
            "write" => await WriteAsync(offset, length, pattern ?? DefaultPattern, arguments),
            _ => await DiscardAsync(offset, length),
        };
        if (mismatch is not null)
        {
            context.Out.WriteLine($"Pattern verification failed at offset {offset}, {length} bytes");
        }

        if (!arguments.Has("quiet") && !context.IsQuiet)
        {
            Report(verb == "write" ? "wrote" : verb, offset, length, Stopwatch.GetElapsedTime(started));
        }

        return mismatch is null;
    }

    private async IoTask<long?> ReadAsync(long offset, int length, byte? pattern)
    {
        using var buffer = new IoBuffer(Math.Max(1, length));
        await node.ReadAsync(offset, buffer.Slice(0, length));
        return pattern is { } expected && buffer.Span[..length].ContainsAnyExcept(expected) ? offset : null;
    }

    private async IoTask<long?> WriteAsync(long offset, long length, byte pattern, Arguments arguments)
    {
        if (arguments.Has("zero"))
        {
            ZeroFlags flags = (arguments.Has("unmap") ? ZeroFlags.MayUnmap : 0) | (arguments.Has("fua") ? ZeroFlags.Fua : 0) | (arguments.Has("no-fallback") ? ZeroFlags.NoFallback : 0);
            await node.WriteZeroesAsync(offset, length, flags);
            return null;
        }

        using var buffer = new IoBuffer((int)Math.Max(1, length));
        buffer.Span.Fill(pattern);
        WriteFlags writeFlags = (arguments.Has("fua") ? WriteFlags.Fua : 0) | (arguments.Has("compressed") ? WriteFlags.Compressed : 0);
        await node.WriteAsync(offset, buffer.Slice(0, (int)length), writeFlags);
        return null;
    }

    private async IoTask<long?> DiscardAsync(long offset, long length)
    {
        await node.DiscardAsync(offset, length);
        return null;
    }

    private void Report(string did, long offset, long length, TimeSpan time)
    {
        double seconds = Math.Max(time.TotalSeconds, 1e-6);
        context.Out.WriteLine($"{did} {length}/{length} bytes at offset {offset}");
        context.Out.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{Size(length)}, 1 ops; {(int)time.TotalSeconds:d2}.{time.Milliseconds / 10:d2} sec ({Size(length / seconds)}/sec and {1 / seconds:F4} ops/sec)"));
    }

    private static long ParseNumber(string text)
        => SizeText.TryParse(text, out long value) ? value : throw new UsageException($"Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {text}");

    private static byte? ParsePattern(string? text)
        => text is null ? null : SizeText.TryParse(text, out long value) && value <= byte.MaxValue ? (byte)value : throw new UsageException($"{text} is not a valid pattern byte");

    // Up to three decimals, as this tool of QEMU prints; `info` has three significant digits instead.
    private static string Size(double bytes)
    {
        string[] units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        int unit = 0;
        while (bytes >= 1024 && unit < units.Length - 1)
        {
            bytes /= 1024;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{bytes:0.###} {units[unit]}");
    }
}
