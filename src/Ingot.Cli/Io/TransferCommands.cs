using System.Diagnostics;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>Reads and writes, waited for or not.</summary>
internal static class TransferCommands
{
    private const byte WritePattern = 0xcd;
    private const byte UnreadPattern = 0xab;
    private const int Sector = 512;

    public static IoCommand[] All { get; } =
    [
        new("read", "r", 2, null, "bCl:pP:qrs:v", "[-abCqrv] [-P pattern [-s off] [-l len]] off len", "reads a number of bytes at a specified offset", ReadAsync)
        {
            Details = """
                 -b, -- read from the VM state rather than the virtual disk
                 -C, -- report statistics in a machine parsable format
                 -P, -- compare what is read with a pattern; -s and -l say from where and how much of it
                 -q, -- quiet mode, do not show I/O statistics
                 -v, -- dump what is read
                 -p and -r are accepted and have no effect
                """,
        },
        new("readv", null, 2, null, "CP:qrv", "[-Cqrv] [-P pattern] off len [len..]", "reads a number of bytes at a specified offset", ReadvAsync),
        new("write", "w", 2, null, "bcCfnpP:qrs:uz", "[-bcCfnqruz] [-P pattern | -s source_file] off len", "writes a number of bytes at a specified offset", WriteAsync)
        {
            Writes = true,
            Details = """
                 -b, -- write to the VM state rather than the virtual disk
                 -c, -- write compressed
                 -C, -- report statistics in a machine parsable format
                 -f, -- durable at completion
                 -P, -- write this byte; -s writes a file's content
                 -q, -- quiet mode, do not show I/O statistics
                 -z, -- write zeroes; -u lets it give space back, -n forbids the slow way
                 -p and -r are accepted and have no effect
                """,
        },
        new("writev", null, 2, null, "CfP:qr", "[-Cfqr] [-P pattern] off len [len..]", "writes a number of bytes at a specified offset", WritevAsync) { Writes = true },
        new("aio_read", null, 2, null, "CiP:qrv", "[-Ciqrv] [-P pattern] off len [len..]", "asynchronously reads a number of bytes", AioReadAsync),
        new("aio_write", null, 2, null, "CfiP:qruz", "[-Cfiqruz] [-P pattern] off len [len..]", "asynchronously writes a number of bytes", AioWriteAsync) { Writes = true },
        new("aio_flush", null, 0, 0, "", "", "completes all outstanding aio requests", DrainAsync),
    ];

    private static async IoTask<bool> ReadAsync(IoSession session, IoWords words)
    {
        IoWords.Require(words.Operands.Count == 2 && (words.Has('P') || !(words.Has('l') || words.Has('s'))));
        (long offset, long length) = (words.Number(0), words.Number(1));
        words.RequireLength(length, "");
        long from = words.Number('s') ?? 0;
        long count = words.Number('l') ?? length - from;
        if (count < 0 || from + count > length)
        {
            throw new IoCommandException("pattern verification range exceeds end of read data");
        }

        RequireSectors(words.Has('b'), offset, length);
        return await ReadAsync(session, words, "read", offset, length, (int)from, (int)count);
    }

    private static IoTask<bool> ReadvAsync(IoSession session, IoWords words)
    {
        (long offset, long length) = ParseVector(words);
        return ReadAsync(session, words, "readv", offset, length, 0, (int)length);
    }

    private static IoTask<bool> AioReadAsync(IoSession session, IoWords words)
    {
        if (words.Has('i'))
        {
            session.Context.Out.WriteLine("injecting invalid read request");
            return new IoTask<bool>(true);
        }

        (long offset, long length) = ParseVector(words);
        words.Pattern();
        session.Detach(async () => await ReadAsync(session, words, "readv", offset, length, 0, (int)length));
        return new IoTask<bool>(true);
    }

    private static async IoTask<bool> ReadAsync(IoSession session, IoWords words, string verb, long offset, long length, int from, int count)
    {
        byte? pattern = words.Pattern();
        using var data = new IoData(session, length, UnreadPattern);
        TextWriter o = session.Context.Out;
        long started = Stopwatch.GetTimestamp();
        Errno errno = words.Has('b')
            ? await session.Node.ReadVmStateAsync(offset, data.Vector).Status()
            : await session.TryAsync(offset, length, node => node.ReadAsync(offset, data.Vector));
        TimeSpan time = Stopwatch.GetElapsedTime(started);
        if (errno != Errno.None)
        {
            o.WriteLine($"{verb} failed: {ErrnoException.Text(errno)}");
            return false;
        }

        bool isRight = pattern is not { } expected || !data.Span.Slice(from, count).ContainsAnyExcept(expected);
        if (!isRight)
        {
            o.WriteLine($"Pattern verification failed at offset {offset + from}, {count} bytes");
        }

        if (!words.Has('q'))
        {
            o.Write(words.Has('v') ? IoReport.Dump(data.Span, offset) : "");
            o.WriteLine(IoReport.Transfer("read", offset, length, time, words.Has('C')));
        }

        return isRight;
    }

    private static async IoTask<bool> WriteAsync(IoSession session, IoWords words)
    {
        IoWords.Require(words.Operands.Count == 2);
        RefuseTogether(words);
        (long offset, long length) = (words.Number(0), words.Number(1));
        if (!words.Has('n'))
        {
            words.RequireLength(length, " without -n");
        }

        RequireSectors(words.Has('b') || words.Has('c'), offset, length);
        return await WriteAsync(session, words, "write", offset, length);
    }

    private static IoTask<bool> WritevAsync(IoSession session, IoWords words)
    {
        (long offset, long length) = ParseVector(words);
        return WriteAsync(session, words, "writev", offset, length);
    }

    private static IoTask<bool> AioWriteAsync(IoSession session, IoWords words)
    {
        if (words.Has('i'))
        {
            session.Context.Out.WriteLine("injecting invalid write request");
            return new IoTask<bool>(true);
        }

        IoWords.Refuse(words.Has('z') && words.Operands.Count != 2, "-z supports only a single length parameter");
        IoWords.Refuse(words.Has('u') && !words.Has('z'), "-u requires -z to be specified");
        IoWords.Refuse(words.Has('z') && words.Has('P'), "-z and -P cannot be specified at the same time");
        IoWords.Refuse(words.Has('z') && words.Has('r'), "cannot combine zero write with registered I/O buffer");
        words.Pattern();
        (long offset, long length) = words.Has('z') ? (words.Number(0), words.Number(1)) : ParseVector(words);
        session.Detach(async () => await WriteAsync(session, words, "aio_write", offset, length));
        return new IoTask<bool>(true);
    }

    private static async IoTask<bool> WriteAsync(IoSession session, IoWords words, string verb, long offset, long length)
    {
        bool isZero = words.Has('z');
        byte pattern = words.Pattern() ?? WritePattern;
        using var data = new IoData(session, isZero ? 0 : length, pattern);
        if (words.Last('s') is { } source)
        {
            data.FillFrom(source);
        }

        WriteFlags flags = (words.Has('f') ? WriteFlags.Fua : 0) | (words.Has('c') ? WriteFlags.Compressed : 0);
        long started = Stopwatch.GetTimestamp();
        Errno errno = words.Has('b')
            ? await session.Node.WriteVmStateAsync(offset, data.Vector).Status()
            : await session.TryAsync(offset, length, node => isZero ? node.WriteZeroesAsync(offset, length, ZeroFlagsOf(words)) : node.WriteAsync(offset, data.Vector, flags));
        TimeSpan time = Stopwatch.GetElapsedTime(started);
        if (errno != Errno.None)
        {
            session.Context.Out.WriteLine($"{verb} failed: {ErrnoException.Text(errno)}");
            return false;
        }

        if (!words.Has('q'))
        {
            session.Context.Out.WriteLine(IoReport.Transfer("wrote", offset, length, time, words.Has('C')));
        }

        return true;
    }

    private static async IoTask<bool> DrainAsync(IoSession session, IoWords words)
    {
        await session.DrainAsync();
        return true;
    }

    private static (long Offset, long Length) ParseVector(IoWords words)
    {
        IoWords.Require(words.Operands.Count >= 2);
        long total = 0;
        for (int i = 1; i < words.Operands.Count; i++)
        {
            long length = words.Number(i);
            IoWords.Refuse(length > IoData.MaxLength, $"Argument '{words.Operands[i]}' exceeds maximum size {IoData.MaxLength}");
            IoWords.Refuse(total > IoData.MaxLength - length, $"The total number of bytes exceed the maximum size {IoData.MaxLength}");
            total += length;
        }

        return (words.Number(0), total);
    }

    private static ZeroFlags ZeroFlagsOf(IoWords words)
        => (words.Has('u') ? ZeroFlags.MayUnmap : 0) | (words.Has('f') ? ZeroFlags.Fua : 0) | (words.Has('n') ? ZeroFlags.NoFallback : 0);

    private static void RefuseTogether(IoWords words)
    {
        IoWords.Refuse(words.Has('b') && words.Has('z'), "-b and -z cannot be specified at the same time");
        IoWords.Refuse(words.Has('f') && (words.Has('b') || words.Has('c')), "-f and -b or -c cannot be specified at the same time");
        IoWords.Refuse(words.Has('n') && !words.Has('z'), "-n requires -z to be specified");
        IoWords.Refuse(words.Has('u') && !words.Has('z'), "-u requires -z to be specified");
        words.Pattern();
        IoWords.Refuse(new[] { 'z', 'P', 's' }.Count(words.Has) > 1, "Only one of -z, -P, and -s can be specified at the same time");
        IoWords.Refuse(words.Has('z') && words.Has('r'), "cannot combine zero write with registered I/O buffer");
    }

    private static void RequireSectors(bool condition, long offset, long length)
    {
        IoWords.Refuse(condition && offset % Sector != 0, $"{offset} is not a sector-aligned value for 'offset'");
        IoWords.Refuse(condition && length % Sector != 0, $"{length} is not a sector-aligned value for 'count'");
    }
}
