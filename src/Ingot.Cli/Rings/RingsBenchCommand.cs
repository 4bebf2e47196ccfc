using Ingot.Io;
using Ingot.Linux;
using Ingot.Rings;
using Ingot.Rings.Lab;

namespace Ingot.Cli;

/// <summary>rings bench: the same requests through every ring.</summary>
internal static class RingsBenchCommand
{
    private const int DefaultRuns = 10;

    public static Command Command { get; } = new(
        "bench",
        "Run the same requests through every ring design, and measure",
        [
            "[--design NAME,...] [--segments N,...] [--queue-size N,...] [--depth N,...]",
            "[--batch N,...] [--queues N,...] [--wakeup polling,eventfd] [--order in-order,reversed]",
            "[--processes] [--requests N] [--runs N] [--output OFMT] [--html FILE] [-q]",
        ],
        [
            CommonOptions.Quiet, CommonOptions.Output,
            Option.Value('\0', "design", "NAME,...", $"which designs (default all):\n{string.Join('\n', RingDesigns.All.Select(d => $"  {d.Name,-26} {d.Title}"))}"),
            Option.Value('\0', "segments", "N,...", "data segments of a request, 1 to 128 (default 1)"),
            Option.Value('\0', "queue-size", "N,...", "entries of a ring, a power of two (default 256)"),
            Option.Value('\0', "depth", "N,...", "requests in flight on a queue pair (default 64)"),
            Option.Value('\0', "batch", "N,...", "requests and answers shown to the other side at once (default 16, at most the depth)"),
            Option.Value('\0', "queues", "N,...", "queue pairs, 1 to 4; a thread on each side goes around all (default 1)"),
            Option.Value('\0', "wakeup", "HOW,...", "polling (default), or eventfd: sleep when there is nothing"),
            Option.Value('\0', "order", "HOW,...", "in-order (default), or reversed: each batch is answered backwards"),
            Option.Switch('\0', "processes", "the device's side is a process of its own, not a thread"),
            Option.Value('\0', "requests", "N", "requests a run (default 1M)"),
            Option.Value('\0', "runs", "N", $"runs of each design, in turns (default {DefaultRuns})"),
            Option.Value('\0', "html", "FILE", "also write a page with plots"),
        ],
        [],
        Run);

    private static IoTask<int> Run(CommandContext context, Arguments arguments)
    {
        if (arguments.Operands.Count > 0)
        {
            throw new UsageException($"Unexpected argument: {arguments.Operands[0]}");
        }

        bool isJson = CommonOptions.IsJson(arguments);
        int runs = (int)(arguments.Size("runs", "number of runs", 1, 1000) ?? DefaultRuns);
        IReadOnlyList<RingDesign> designs = ParseDesigns(arguments);
        LabSettings[] workloads = [.. Workloads(arguments, designs[0])];
        foreach (LabSettings workload in workloads)
        {
            workload.Check();
        }

        var series = new List<IReadOnlyList<LabMeasurement>>();
        foreach (LabSettings workload in workloads)
        {
            series.Add(LabSeries.Run(workload, designs, runs, new RingsDeviceProcess(), run => ShowProgress(context, series.Count, workloads.Length, run, runs)));
            if (!isJson)
            {
                EraseProgress(context);
                RingsReport.PrintTable(context.Out, series[^1]);
            }
        }

        if (isJson)
        {
            EraseProgress(context);
            RingsReport.PrintJson(context.Out, series);
        }

        if (arguments.Last("html") is { } path)
        {
            RingsPage.Write(path, series);
        }

        return new IoTask<int>(0);
    }

    private static IReadOnlyList<RingDesign> ParseDesigns(Arguments arguments)
        => arguments.Last("design") is { } names
            ? [.. names.Split(',').Select(n => RingDesigns.Find(n) ?? throw new UsageException($"There is no ring design '{n}'"))]
            : RingDesigns.All;

    private static IEnumerable<LabSettings> Workloads(Arguments arguments, RingDesign design) =>
        from segments in Numbers(arguments, "segments", 1)
        from size in Numbers(arguments, "queue-size", 256)
        from depth in Numbers(arguments, "depth", 64)
        from batch in Numbers(arguments, "batch", Math.Min(16, depth))
        from queues in Numbers(arguments, "queues", 1)
        from wakeup in Words(arguments, "wakeup", ("polling", Wakeup.Polling), ("eventfd", Wakeup.EventFd))
        from order in Words(arguments, "order", ("in-order", AnswerOrder.InOrder), ("reversed", AnswerOrder.Reversed))
        select new LabSettings
        {
            Design = design,
            Segments = segments,
            QueueSize = size,
            Depth = depth,
            Batch = batch,
            Queues = queues,
            Wakeup = wakeup,
            Order = order,
            Processes = arguments.Has("processes"),
            Requests = arguments.Size("requests", "number of requests", 1) ?? 1_000_000,
        };

    private static int[] Numbers(Arguments arguments, string name, int otherwise)
        => arguments.Last(name) is { } text
            ? [.. text.Split(',').Select(n => (int)Arguments.ParseSize(n, name, 1, RingGeometry.MaxQueueSize))]
            : [otherwise];

    private static T[] Words<T>(Arguments arguments, string name, params (string Word, T Value)[] words)
        where T : struct
        => arguments.Last(name) is { } text
            ? [.. text.Split(',').Select(w => Array.Find(words, x => x.Word == w) is { Word: not null } found ? found.Value : throw new UsageException($"--{name} is {string.Join(" or ", words.Select(x => $"'{x.Word}'"))}, not '{w}'"))]
            : [words[0].Value];

    private static void ShowProgress(CommandContext context, int workload, int workloads, int run, int runs)
    {
        if (Libc.isatty(2) == 1 && !context.IsQuiet)
        {
            context.Error.Write($"\rworkload {workload + 1} of {workloads}, run {run + 1} of {runs}\u001b[K");
        }
    }

    private static void EraseProgress(CommandContext context)
    {
        if (Libc.isatty(2) == 1 && !context.IsQuiet)
        {
            context.Error.Write("\r\u001b[K");
        }
    }
}
