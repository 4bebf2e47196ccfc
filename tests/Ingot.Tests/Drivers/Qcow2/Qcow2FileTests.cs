using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>The driver on real files, opened through the graph with the options that people give.</summary>
public class Qcow2FileTests
{
    private const int Size = 3 << 20;

    [Theory]
    [InlineData("", IoEngine.Auto, "64k")]
    [InlineData("", IoEngine.Threads, "512")]
    [InlineData(",file.cache.direct=on,cache.direct=on", IoEngine.Auto, "64k")]
    [InlineData(",file.cache.direct=on,cache.direct=on", IoEngine.Auto, "512")]
    [InlineData(",file.cache.direct=on,cache.direct=on", IoEngine.Threads, "4k")]
    [InlineData(",lazy-refcounts=on,l2-cache-size=64k,overlap-check=all", IoEngine.Auto, "4k")]
    [InlineData(",l2-cache-entry-size=512,l2-cache-size=1k,cache-clean-interval=1", IoEngine.Auto, "64k")]
    [InlineData(",cache-size=1M,pass-discard-request=off", IoEngine.Auto, "2M")]
    [InlineData(",publish-metadata=on", IoEngine.Auto, "64k")]
    [InlineData(",cache.writeback=off", IoEngine.Auto, "64k")]
    public void Files_read_as_they_were_written(string options, IoEngine engine, string clusterSize)
    {
        using var directory = new TempDirectory();
        string name = directory["a.qcow2"];
        Loop.Run(
            async () =>
            {
                var graph = new BlockGraph();
                await new Qcow2Driver().CreateAsync(new CreateRequest(graph, name, Size, Qcow2Fixture.Options(("cluster_size", clusterSize))));
                byte[] expected = new byte[Size];
                for (int round = 0; round < 3; round++)
                {
                    BlockNode node = await graph.OpenAsync(KeyValueText.Parse($"driver=qcow2,file.driver=file,file.filename={name}{options}"), OpenFlags.ReadWrite);
                    Assert.Equal(expected, await Qcow2Fixture.ReadAsync(node, 0, Size));
                    await ChangeAsync(node, expected, round);
                    Assert.Equal(expected, await Qcow2Fixture.ReadAsync(node, 0, Size));
                    await node.CloseAsync();
                }

                BlockNode checking = await graph.OpenFileAsync(name, null, OpenFlags.Check);
                await Model.CheckAsync((Qcow2Node)checking);
                await checking.CloseAsync();
            },
            engine);
    }

    private static async IoTask ChangeAsync(BlockNode node, byte[] expected, int seed)
    {
        var random = new Random(seed);
        for (int i = 0; i < 12; i++)
        {
            // Several at a time, each in a part of the disk of its own.
            const int Parallel = 8;
            var tasks = new IoTask[Parallel];
            for (int n = 0; n < Parallel; n++)
            {
                int offset = (n * (Size / Parallel)) + random.Next(Size / Parallel);
                int length = Math.Min(random.Next(1, 20_000), ((n + 1) * (Size / Parallel)) - offset);
                byte[] bytes = i % 5 == 4 ? new byte[length] : Qcow2Fixture.Pattern(length, random.Next());
                tasks[n] = i % 5 == 4 ? node.WriteZeroesAsync(offset, length, ZeroFlags.MayUnmap) : Qcow2Fixture.WriteAsync(node, offset, bytes);
                bytes.CopyTo(expected, offset);
            }

            foreach (IoTask task in tasks)
            {
                await task;
            }
        }
    }
}
