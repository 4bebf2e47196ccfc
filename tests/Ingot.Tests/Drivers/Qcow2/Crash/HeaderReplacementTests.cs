using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>Headers of several sectors are replaced so that a crash leaves the old names or the new ones, also where writes are torn.</summary>
public class HeaderReplacementTests
{
    [Theory]
    [InlineData("1k")]
    [InlineData("4k")]
    [InlineData("8k")]
    [InlineData("64k")]
    public void A_torn_header_is_the_old_or_the_new_one(string cluster) => Loop.Run(async () =>
    {
        var random = new Random(7);
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20, ("cluster_size", cluster));
        (string? Name, string? Format) old = default;
        for (int i = 0; i < 40; i++)
        {
            int length = random.Next(4) * random.Next(1, cluster == "1k" ? 75 : 300);
            (string? Name, string? Format) wanted = length == 0 ? default : (new string((char)('a' + (i % 26)), length), i % 3 == 0 ? null : i % 3 == 1 ? "raw" : "parallels");
            var recorder = new RecordingNode(new MemoryDisk(disk.Snapshot()), disk.Snapshot(), new WriteLog());
            Qcow2Node node = await Qcow2Fixture.OpenAsync(recorder);
            if (i % 5 == 0)
            {
                await node.AddBitmapAsync($"b{i}");
                await node.CloseAsync();
                node = await Qcow2Fixture.OpenAsync(recorder);
            }

            await node.ChangeBackingAsync(wanted.Name, wanted.Format);
            await node.CloseAsync();
            await CompareAsync(recorder, old, wanted, random);
            disk = new MemoryDisk(new CrashSampler(recorder).Sample(recorder.Log.Tick(), random));
            old = wanted;
        }
    });

    private static async IoTask CompareAsync(RecordingNode recorder, (string? Name, string? Format) old, (string? Name, string? Format) wanted, Random random)
    {
        var sampler = new CrashSampler(recorder);
        for (int moment = 0; moment <= recorder.Log.Now; moment++)
        {
            for (int i = 0; i < 4; i++)
            {
                Qcow2Node node = await Qcow2Fixture.OpenAsync(new MemoryDisk(sampler.Sample(moment, random)), flags: OpenFlags.None);
                (string?, string?) now = (node.Image.Header.Current.BackingFile, node.Image.Header.Current.BackingFormat);
                Assert.True(now == old || now == wanted, $"{now} is neither {old} nor {wanted}");
                await node.GetInfoAsync();
                await node.CloseAsync();
            }
        }
    }
}
