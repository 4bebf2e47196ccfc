using Xunit;

namespace Ingot.Tests.Drivers.Qcow2.Fuzz;

/// <summary>
/// Spoiled images: opened, described, mapped, checked, repaired, read, written and managed. Nothing but typed errors, no endless work, bounded memory, no guest
/// data where tables are. A failure prints its seed: INGOT_FUZZ_SEED=seed runs it alone, INGOT_FUZZ_CASES=1000000 runs more.
/// </summary>
public class Qcow2FuzzTests(ITestOutputHelper output)
{
    private const int Cases = 20_000;

    [Fact]
    public void Spoiled_images_end_in_errors_or_in_images()
    {
        bool isSeeded = int.TryParse(Environment.GetEnvironmentVariable("INGOT_FUZZ_SEED"), out int first);
        int count = int.TryParse(Environment.GetEnvironmentVariable("INGOT_FUZZ_CASES"), out int asked) ? asked : isSeeded ? 1 : Cases;
        var failures = new List<string>();
        long done = 0;
        (int Seed, TimeSpan Time) slowest = default;
        Loop.Run(async () =>
        {
            FuzzImage[] images = await FuzzImage.MakeAllAsync();
            for (int seed = first; seed < first + count && failures.Count < 20; seed++)
            {
                long start = TimeProvider.System.GetTimestamp();
                var fuzzed = new FuzzCase(images, seed);
                if (await fuzzed.RunAsync() is { } failure)
                {
                    failures.Add(failure);
                }

                done += fuzzed.Done;

                TimeSpan time = TimeProvider.System.GetElapsedTime(start);
                slowest = time > slowest.Time ? (seed, time) : slowest;
            }
        });
        output.WriteLine($"{count} cases from seed {first}; {done * 100 / 4 / count} % of what was tried was done; the slowest, {slowest.Seed}, took {slowest.Time.TotalMilliseconds:f0} ms");
        Assert.True(failures.Count == 0, string.Join("\n\n", failures));
        Assert.True(isSeeded || done > count, "most images are refused at once: nothing behind the header is tried");
    }

    [Fact]
    public void Images_to_spoil_are_good() => Loop.Run(async () =>
    {
        foreach (FuzzImage image in await FuzzImage.MakeAllAsync())
        {
            Ingot.Drivers.Qcow2.Qcow2Node node = await Qcow2Fixture.OpenAsync(
                new BoundedDisk([.. image.Bytes]),
                flags: Ingot.Drivers.OpenFlags.None,
                dataFile: image.DataFile is { } data ? new BoundedDisk(data) : null);
            Assert.Equal(96 << 10, node.Length);
            await Qcow2Fixture.ReadAsync(node, 0, 96 << 10);
            await node.CloseAsync();
        }
    });
}
