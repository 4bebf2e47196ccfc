namespace Ingot.Rings.Lab;

/// <summary>A workload on one design, run again and again.</summary>
/// <param name="Settings">The workload; <see cref="LabSettings.Design"/> is the design.</param>
/// <param name="HasRing">False for the baseline without a ring.</param>
/// <param name="Results">One for each run.</param>
/// <param name="Accesses">What a request costs in accesses to shared memory; null for the baseline.</param>
public sealed record LabMeasurement(LabSettings Settings, bool HasRing, IReadOnlyList<LabResult> Results, AccessCount? Accesses)
{
    /// <summary>The name of the design.</summary>
    public string Name => HasRing ? Settings.Design.Name : "none";

    /// <summary>What the design is.</summary>
    public string Title => HasRing ? Settings.Design.Title : "no ring, one thread";

    /// <summary>The middle of a value over all runs, and how far runs differ.</summary>
    /// <param name="value">What to look at.</param>
    /// <returns>Median, smallest and largest.</returns>
    public Spread Spread(Func<LabResult, double> value)
    {
        double[] sorted = [.. Results.Select(value).Order()];
        int middle = sorted.Length / 2;
        double median = sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
        return new Spread(median, sorted[0], sorted[^1]);
    }
}

/// <summary>How values are spread.</summary>
/// <param name="Median">The middle one.</param>
/// <param name="Least">The smallest.</param>
/// <param name="Most">The largest.</param>
public readonly record struct Spread(double Median, double Least, double Most);

/// <summary>Runs designs in turns, so that what disturbs the machine disturbs all of them.</summary>
public static class LabSeries
{
    /// <summary>Runs a workload.</summary>
    /// <param name="workload">The workload; its design does not matter.</param>
    /// <param name="designs">The designs to compare.</param>
    /// <param name="runs">Runs of each.</param>
    /// <param name="process">Starts the device's side, when the workload wants processes.</param>
    /// <param name="progress">Told of each round before it begins.</param>
    /// <returns>The baseline without a ring first, then the designs in their order.</returns>
    public static IReadOnlyList<LabMeasurement> Run(LabSettings workload, IReadOnlyList<RingDesign> designs, int runs, IDeviceProcess? process, Action<int> progress)
    {
        var baseline = new List<LabResult>();
        List<LabResult>[] results = [.. designs.Select(_ => new List<LabResult>())];
        for (int run = 0; run < runs; run++)
        {
            progress(run);
            baseline.Add(LabRun.RunWithoutRing(workload));
            for (int i = 0; i < designs.Count; i++)
            {
                results[i].Add(LabRun.Run(workload with { Design = designs[i] }, process));
            }
        }

        IEnumerable<LabMeasurement> measured = designs.Select((design, i) => Measured(workload with { Design = design }, results[i]));
        return [new LabMeasurement(workload, false, baseline, null), .. measured];
    }

    private static LabMeasurement Measured(LabSettings settings, List<LabResult> results) => new(settings, true, results, AccessCount.Measure(settings));
}
