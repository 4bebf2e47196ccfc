using Ingot.Rings.Lab;
using static System.FormattableString;

namespace Ingot.Cli;

/// <summary>What the ring lab measured, as a table or as JSON.</summary>
internal static class RingsReport
{
    /// <summary>Describes a workload in one line.</summary>
    /// <param name="s">The workload.</param>
    /// <returns>The line.</returns>
    public static string Describe(LabSettings s)
    {
        string sides = s.Processes ? "processes" : "threads";
        string order = s.Order == AnswerOrder.Reversed ? "reversed batches" : "in order";
        string wakeup = s.Wakeup == Wakeup.EventFd ? "eventfd" : "polling";
        return $"{s.Segments} segment{(s.Segments == 1 ? "" : "s")}, queue of {s.QueueSize}, depth {s.Depth}, batch {s.Batch}, {s.Queues} queue pair{(s.Queues == 1 ? "" : "s")}, {wakeup}, {order}, two {sides}";
    }

    public static void PrintTable(TextWriter o, IReadOnlyList<LabMeasurement> rows)
    {
        o.WriteLine($"{Describe(rows[0].Settings)}; {rows[0].Results.Count} runs of {rows[0].Settings.Requests} requests");
        o.WriteLine($"{"design",-26} {"ns/request",10} {"least",7} {"most",7} {"M/s",7} {"CPU ns",7} {"CPU ns",7} {"loads",12} {"lines",12} {"moved",6}");
        o.WriteLine($"{"",-26} {"median",10} {"",7} {"",7} {"",7} {"driver",7} {"device",7} {"drv + dev",12} {"drv + dev",12} {"",6}");
        foreach (LabMeasurement row in rows)
        {
            Spread time = row.Spread(r => r.NanosecondsPerRequest);
            double driver = row.Spread(r => r.DriverCpu).Median;
            double device = row.Spread(r => r.DeviceCpu).Median;
            o.WriteLine(Invariant($"{row.Name,-26} {time.Median,10:F1} {time.Least,7:F1} {time.Most,7:F1} {1000 / time.Median,7:F2} {driver,7:F1} {device,7:F1} {DescribeAccesses(row)}"));
        }

        o.WriteLine();
    }

    public static void PrintJson(TextWriter o, IReadOnlyList<IReadOnlyList<LabMeasurement>> series)
    {
        var printer = new JsonPrinter(o);
        printer.BeginArray();
        foreach (LabMeasurement row in series.SelectMany(rows => rows))
        {
            PrintRow(printer, row);
        }

        printer.EndArray();
    }

    private static string DescribeAccesses(LabMeasurement row)
    {
        if (row.Accesses is not { } a)
        {
            return "";
        }

        string loads = Invariant($"{a.Driver.Loads:F2} + {a.Device.Loads:F2}");
        string lines = Invariant($"{a.Driver.Lines:F2} + {a.Device.Lines:F2}");
        return Invariant($"{loads,12} {lines,12} {a.Driver.Transfers + a.Device.Transfers,6:F2}");
    }

    private static void PrintRow(JsonPrinter printer, LabMeasurement row)
    {
        LabSettings s = row.Settings;
        printer.BeginObject();
        printer.Member("design", row.Name);
        printer.Member("segments", s.Segments);
        printer.Member("queue-size", s.QueueSize);
        printer.Member("depth", s.Depth);
        printer.Member("batch", s.Batch);
        printer.Member("queues", s.Queues);
        printer.Member("wakeup", s.Wakeup == Wakeup.EventFd ? "eventfd" : "polling");
        printer.Member("order", s.Order == AnswerOrder.Reversed ? "reversed" : "in-order");
        printer.Member("processes", s.Processes);
        printer.Member("requests", s.Requests);
        PrintRuns(printer, "ns-per-request", row, r => r.NanosecondsPerRequest);
        PrintRuns(printer, "driver-cpu-ns-per-request", row, r => r.DriverCpu);
        PrintRuns(printer, "device-cpu-ns-per-request", row, r => r.DeviceCpu);
        if (row.Accesses is { } accesses)
        {
            PrintAccesses(printer, "driver-accesses", accesses.Driver);
            PrintAccesses(printer, "device-accesses", accesses.Device);
        }

        printer.EndObject();
    }

    private static void PrintRuns(JsonPrinter printer, string name, LabMeasurement row, Func<LabResult, double> value)
    {
        Spread spread = row.Spread(value);
        printer.Name(name);
        printer.BeginObject();
        printer.Member("median", Number(spread.Median));
        printer.Member("least", Number(spread.Least));
        printer.Member("most", Number(spread.Most));
        printer.Name("runs");
        printer.BeginArray();
        foreach (LabResult result in row.Results)
        {
            printer.Value(Number(value(result)));
        }

        printer.EndArray();
        printer.EndObject();
    }

    private static void PrintAccesses(JsonPrinter printer, string name, AccessRates rates)
    {
        printer.Name(name);
        printer.BeginObject();
        printer.Member("loads", Number(rates.Loads));
        printer.Member("stores", Number(rates.Stores));
        printer.Member("cache-lines", Number(rates.Lines));
        printer.Member("transfers", Number(rates.Transfers));
        printer.EndObject();
    }

    private static decimal Number(double value) => Math.Round((decimal)value, 3);
}
