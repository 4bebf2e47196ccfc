using System.Diagnostics;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>What the image holds, its size, and discards.</summary>
internal static class SpaceCommands
{
    private const int Sector = 512;

    public static IoCommand[] All { get; } =
    [
        new("flush", "f", 0, 0, "", "", "flush all in-core file state to disk", FlushAsync),
        new("truncate", "t", 1, 3, "m:", "[-m prealloc_mode] off", "truncates the current file at the given offset", TruncateAsync) { Writes = true },
        new("length", "l", 0, 0, "", "", "gets the length of the current file", LengthAsync),
        new("info", "i", 0, 0, "", "", "prints information about the current file", InfoAsync),
        new("discard", "d", 2, null, "Cq", "[-Cq] off len", "discards a number of bytes at a specified offset", DiscardAsync) { Writes = true },
        new("aio_discard", null, 2, null, "Cq", "[-Cq] off len", "asynchronously discards a number of bytes", AioDiscardAsync) { Writes = true },
        new("alloc", "a", 1, 2, "", "offset [count]", "checks if offset is allocated in the file", AllocAsync),
        new("map", null, 0, 0, "", "", "prints the allocated areas of a file", MapAsync),
    ];

    private static async IoTask<bool> FlushAsync(IoSession session, IoWords words)
        => await session.TryAsync(0, 0, node => node.FlushAsync()) == Errno.None;

    private static async IoTask<bool> TruncateAsync(IoSession session, IoWords words)
    {
        IoWords.Require(words.Operands.Count == 1);
        if (!Enum.TryParse(words.Last('m') ?? "off", ignoreCase: true, out Preallocation preallocation))
        {
            return session.Report($"Invalid preallocation mode '{words.Last('m')}'");
        }

        try
        {
            await session.Node.ResizeAsync(words.Number(0), preallocation);
            return true;
        }
        catch (ErrnoException e)
        {
            return session.Report(e.Message);
        }
    }

    private static IoTask<bool> LengthAsync(IoSession session, IoWords words)
    {
        session.Context.Out.WriteLine(IoReport.Size(session.Node.Length));
        return new IoTask<bool>(true);
    }

    private static async IoTask<bool> InfoAsync(IoSession session, IoWords words)
    {
        NodeFacts facts = await NodeFacts.CollectAsync(session.Node);
        TextWriter o = session.Context.Out;
        o.WriteLine($"format name: {facts.Driver}");
        if (DriverTable.Find(facts.Driver) is { IsProtocol: true })
        {
            // A protocol is a format as well.
            o.WriteLine($"format name: {facts.Driver}");
        }

        if (facts.ActualSize is null)
        {
            return false;
        }

        o.WriteLine($"cluster size: {IoReport.Size(facts.Info.ClusterSize ?? 0)}");
        o.WriteLine($"vm state offset: {IoReport.Size(facts.Info.VmStateOffset ?? 0)}");
        InfoPrinter.PrintSpecific(o, facts.Specific, "");
        return true;
    }

    private static async IoTask<bool> DiscardAsync(IoSession session, IoWords words)
    {
        (long offset, long length) = ParseRange(words);
        words.RequireLength(length, "");
        return await DiscardAsync(session, words, "discard", "discard", offset, length);
    }

    private static IoTask<bool> AioDiscardAsync(IoSession session, IoWords words)
    {
        (long offset, long length) = ParseRange(words);
        session.Detach(async () => await DiscardAsync(session, words, "aio_discard", "discarded ", offset, length));
        return new IoTask<bool>(true);
    }

    private static async IoTask<bool> DiscardAsync(IoSession session, IoWords words, string verb, string did, long offset, long length)
    {
        long started = Stopwatch.GetTimestamp();
        Errno errno = await session.TryAsync(offset, length, node => node.DiscardAsync(offset, length));
        if (errno != Errno.None)
        {
            session.Context.Out.WriteLine($"{verb} failed: {ErrnoException.Text(errno)}");
            return false;
        }

        if (!words.Has('q'))
        {
            session.Context.Out.WriteLine(IoReport.Transfer(did, offset, length, Stopwatch.GetElapsedTime(started), words.Has('C')));
        }

        return true;
    }

    private static async IoTask<bool> AllocAsync(IoSession session, IoWords words)
    {
        long offset = words.Number(0);
        long count = words.Operands.Count == 2 ? words.Number(1) : Sector;
        long end = Math.Min(offset + count, session.Node.Length);
        long allocated = 0;
        for (long at = offset; at < end;)
        {
            Extent extent = await session.Node.GetExtentAsync(at, end - at);
            allocated += extent.IsAllocated ? extent.Length : 0;
            at = extent.End;
        }

        session.Context.Out.WriteLine($"{allocated}/{Math.Max(0, end - offset)} bytes allocated at offset {IoReport.Size(offset)}");
        return true;
    }

    private static async IoTask<bool> MapAsync(IoSession session, IoWords words)
    {
        long length = session.Node.Length;
        for (long at = 0; at < length;)
        {
            Extent first = await session.Node.GetExtentAsync(at, length - at);
            long end = first.End;
            while (end < length && await session.Node.GetExtentAsync(end, length - end) is var next && next.IsAllocated == first.IsAllocated)
            {
                end = next.End;
            }

            string state = first.IsAllocated ? "    allocated" : "not allocated";
            session.Context.Out.WriteLine($"{IoReport.Size(end - at)} (0x{end - at:x}) bytes {state} at offset {IoReport.Size(at)} (0x{at:x})");
            at = end;
        }

        return true;
    }

    private static (long Offset, long Length) ParseRange(IoWords words)
    {
        IoWords.Require(words.Operands.Count == 2);
        return (words.Number(0), words.Number(1));
    }
}
