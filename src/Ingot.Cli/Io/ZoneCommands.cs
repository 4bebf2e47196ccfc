using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>Zones of zoned devices. No driver has any: each command ends as it does on a disk that is not zoned.</summary>
internal static class ZoneCommands
{
    public static IoCommand[] All { get; } =
    [
        new("zone_report", "zrp", 2, 2, "", "offset number", "report zone information", ReportAsync),
        Range("open", "zo", "explicit open a range of zones in zone block device"),
        Range("close", "zc", "close a range of zones in zone block device"),
        Range("finish", "zf", "finish a range of zones in zone block device"),
        Range("reset", "zrs", "reset a zone write pointer in zone block device"),
        new("zone_append", "zap", 3, 4, "p", "offset len [len..]", "append write a number of bytes at a specified offset", AppendAsync),
    ];

    private static IoCommand Range(string verb, string letters, string summary)
        => new($"zone_{verb}", letters, 2, 2, "", "offset len", summary, (session, words) => ChangeAsync(session, words, verb));

    private static IoTask<bool> ReportAsync(IoSession session, IoWords words)
    {
        words.Number(0);
        IoWords.Refuse(words.Number(1) > uint.MaxValue, "Number of zones must be less than 2^32");
        return Fail(session, "report", Errno.EOPNOTSUPP);
    }

    private static IoTask<bool> ChangeAsync(IoSession session, IoWords words, string verb)
    {
        (long offset, long length) = (words.Number(0), words.Number(1));
        bool isInside = offset <= session.Node.Length && length <= session.Node.Length - offset;
        return Fail(session, verb, isInside ? Errno.EOPNOTSUPP : Errno.EIO);
    }

    private static IoTask<bool> AppendAsync(IoSession session, IoWords words)
    {
        words.Number(0);
        for (int i = 1; i < words.Operands.Count; i++)
        {
            IoWords.Refuse(words.Number(i) > IoData.MaxLength, $"Argument '{words.Operands[i]}' exceeds maximum size {IoData.MaxLength}");
        }

        return Fail(session, "append", Errno.EOPNOTSUPP);
    }

    private static IoTask<bool> Fail(IoSession session, string verb, Errno errno)
    {
        session.Context.Out.WriteLine($"zone {verb} failed: {ErrnoException.Text(errno)}");
        return new IoTask<bool>(false);
    }
}
