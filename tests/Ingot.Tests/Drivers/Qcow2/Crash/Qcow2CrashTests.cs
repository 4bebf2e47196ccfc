using Xunit;

namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>
/// Thousands of crash states of random workloads. A failure prints its seed; run it alone with INGOT_CRASH_SEED=seed, or more of them with
/// INGOT_CRASH_WORKLOADS=number.
/// </summary>
public class Qcow2CrashTests(ITestOutputHelper output)
{
    private const int Workloads = 280;
    private const int FirstSeed = 1;

    [Fact]
    public void Every_crash_state_is_consistent_and_has_what_was_flushed()
    {
        bool isSeeded = int.TryParse(Environment.GetEnvironmentVariable("INGOT_CRASH_SEED"), out int seed);
        bool isCounted = int.TryParse(Environment.GetEnvironmentVariable("INGOT_CRASH_WORKLOADS"), out int asked);
        int count = isCounted ? asked : isSeeded ? 1 : Workloads;
        int first = isSeeded ? seed : FirstSeed;
        int states = 0;
        var failures = new List<string>();
        for (int i = first; i < first + count; i++)
        {
            try
            {
                Loop.Run(async () => states += await new CrashWorkload(i, CrashSetup.DrawMore(i)).RunAsync());
            }
            catch (Exception e)
            {
                failures.Add(e.Message.StartsWith("Seed", StringComparison.Ordinal) ? e.Message : $"Seed {i}: {e}");
            }
        }

        output.WriteLine($"{states} crash states, seeds from {first}");
        Assert.True(failures.Count == 0, $"{failures.Count} of the workloads fail\n{string.Join('\n', failures.Select(f => f.Split('\n')[0]))}\n\n{string.Join("\n\n", failures.OrderBy(f => f.Length).Take(6))}");
        Assert.True(isSeeded || isCounted || states >= 10_000);
    }

    /// <summary>Each found a fault, which the words name.</summary>
    [Theory]
    [InlineData(3, "a refcount block was named by the table before it was there; entries named clusters behind the end of the file")]
    [InlineData(4, "entries were durable before the data that they lead to, and showed the backing file's place as zeroes")]
    [InlineData(7, "a data file was discarded before the entries said so")]
    [InlineData(9, "freed clusters were given to the next owner while durable entries named them")]
    [InlineData(15, "counts of clusters behind the end of the file were not repaired, and leaked when the file grew")]
    public void Found_before(int seed, string what)
    {
        output.WriteLine(what);
        Loop.Run(async () => await new CrashWorkload(seed, CrashSetup.Draw(seed) with { States = 200 }).RunAsync());
    }

    /// <summary>Each found a fault, with more at work than a guest.</summary>
    [Theory]
    [InlineData(31144, "a disk that grew showed its backing file's bytes behind the old end")]
    [InlineData(10287, "a bitmap that was removed but still stored had the old size")]
    [InlineData(200071, "an encrypted data file was discarded before the entries said so")]
    public void Found_with_more(int seed, string what)
    {
        output.WriteLine(what);
        Loop.Run(async () => await new CrashWorkload(seed, CrashSetup.DrawMore(seed)).RunAsync());
    }
}
