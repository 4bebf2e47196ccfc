using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>The kernel copies into clusters: what is read then, and that tables and counts are right.</summary>
public class CopyRangeTests
{
    private const int Size = 3 << 20;

    [Theory]
    [InlineData("")]
    [InlineData("cluster_size=512")]
    [InlineData("cluster_size=2M")]
    [InlineData("extended_l2=on")]
    [InlineData("preallocation=metadata")]
    [InlineData("compat=0.10")]
    [InlineData("cluster_size=4k,backing_fmt=raw,backing_file=")]
    [InlineData("data_file=")]
    public void Reads_like_an_array_of_bytes(string options)
    {
        using var directory = new TempDirectory();
        var random = new Random(options.Length);
        byte[] source = new byte[Size];
        random.NextBytes(source);
        System.IO.File.WriteAllBytes(directory["source"], source);
        string created = options.EndsWith("_file=", StringComparison.Ordinal) ? options + directory["source2"] : options;
        byte[] model = new byte[Size];
        if (options.Contains("backing", StringComparison.Ordinal))
        {
            random.NextBytes(model);
            System.IO.File.WriteAllBytes(directory["source2"], model);
        }

        string[] arguments = ["create", "-q", "-f", "qcow2", .. created.Length > 0 ? (string[])["-o", created] : [], directory["disk"], $"{Size}"];
        Assert.Equal(0, Cli.CliRunner.Image(arguments).Status);
        Loop.Run(async () =>
        {
            BlockNode from = await new BlockGraph().OpenFileAsync(directory["source"], "raw", OpenFlags.None);
            var node = (Qcow2Node)await new BlockGraph().OpenFileAsync(directory["disk"], "qcow2", OpenFlags.ReadWrite);
            for (int i = 0; i < 60; i++)
            {
                int length = random.Next(1, random.Next(3) == 0 ? 2 << 20 : 200_000) + 511 & ~511;
                int offset = random.Next((Size - length) / 512 + 1) * 512;
                int at = random.Next((Size - length) / 512 + 1) * 512;
                switch (i % 5)
                {
                    case 0:
                        await node.WriteZeroesAsync(offset, length, ZeroFlags.MayUnmap);
                        model.AsSpan(offset, length).Clear();
                        break;
                    case 1 when options != "compat=0.10":
                        await node.FlushAsync();
                        break;
                    default:
                        if (!await node.CopyRangeAsync(offset, from.File!, at, length))
                        {
                            Assert.Equal("extended_l2=on", options);
                            await Qcow2Fixture.WriteAsync(node, offset, source.AsSpan(at, length).ToArray());
                        }

                        source.AsSpan(at, length).CopyTo(model.AsSpan(offset));
                        break;
                }
            }

            Assert.Equal(-1, FirstDifference(model, await Qcow2Fixture.ReadAsync(node, 0, Size)));
            await node.CloseAsync();
            await from.CloseAsync();
            node = (Qcow2Node)await new BlockGraph().OpenFileAsync(directory["disk"], "qcow2", OpenFlags.Check);
            Assert.Equal(-1, FirstDifference(model, await Qcow2Fixture.ReadAsync(node, 0, Size)));
            var said = new List<string>();
            await node.CheckAsync(report: said.Add);
            Assert.Empty(said);
            await node.CloseAsync();
        });
    }

    private static int FirstDifference(byte[] wanted, byte[] found)
        => wanted.AsSpan().CommonPrefixLength(found) is var same && same == wanted.Length ? -1 : same;
}
