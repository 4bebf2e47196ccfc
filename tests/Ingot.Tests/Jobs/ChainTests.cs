using CsCheck;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Tests.Cli;
using Xunit;

namespace Ingot.Tests.Jobs;

/// <summary>Commit and rebase on random backing chains, against what byte arrays say each image reads as.</summary>
public sealed class ChainTests
{
    private const int Unit = 512;
    private const int MaxUnits = 600;

    private static readonly Gen<Change> AnyChange = Gen.Select(Gen.Int[0, MaxUnits - 1], Gen.Int[1, 80], Gen.Byte, (start, count, value) => new Change(start, count, value));

    private static readonly Gen<Layer> AnyLayer = Gen.Select(Gen.Int[1, MaxUnits], Gen.Int[9, 14], Gen.Int[2, 3], AnyChange.List[0, 8], (units, bits, version, changes)
        => new Layer(units * Unit, bits, version, changes));

    [Fact]
    public void A_committed_image_reads_as_before_and_so_does_its_base()
        => Gen.Select(AnyLayer.List[2, 4], Gen.Int[0, 2], Gen.Bool).Sample(
            (layers, depth, names) =>
            {
                using var directory = new TempDirectory();
                Chain chain = Build(directory, "a", layers);
                int target = Math.Max(0, layers.Count - 2 - depth);
                string[] options = target < layers.Count - 2 || names ? ["-b", Path.GetFileName(chain.Names[target])] : [];
                byte[] top = chain.Views[^1];
                Succeed("commit", [.. options, chain.Names[^1]]);

                byte[] expected = [.. top, .. chain.Views[target].Skip(top.Length)];
                Assert.Equal(expected, Read(chain.Names[target]));
                if (options.Length == 0)
                {
                    Assert.Equal(top, Read(chain.Names[^1]));
                }

                Succeed("check", chain.Names[target]);
                Succeed("check", chain.Names[^1]);
            },
            iter: 60);

    [Fact]
    public void A_rebased_image_reads_as_before()
        => Gen.Select(AnyLayer.List[2, 4], AnyLayer.List[1, 3], Gen.Int[0, 2], Gen.Bool).Sample(
            (layers, others, kind, compress) =>
            {
                using var directory = new TempDirectory();
                Chain chain = Build(directory, "a", layers);
                string backing = kind switch
                {
                    0 => "",
                    1 => Path.GetFileName(chain.Names[0]),
                    _ => Path.GetFileName(Build(directory, "b", others).Names[^1]),
                };
                string[] options = backing.Length > 0 ? ["-F", "qcow2"] : [];
                string[] compressed = compress ? ["-c"] : [];
                Succeed("rebase", ["-b", backing, .. options, .. compressed, chain.Names[^1]]);
                Assert.Equal(chain.Views[^1], Read(chain.Names[^1]));
                Succeed("check", chain.Names[^1]);
            },
            iter: 60);

    private static Chain Build(TempDirectory directory, string prefix, List<Layer> layers)
    {
        var chain = new Chain([], []);
        byte[] view = [];
        foreach (Layer layer in layers)
        {
            string name = directory[$"{prefix}{chain.Names.Count}.qcow2"];
            string[] backing = chain.Names.Count > 0 ? ["-b", Path.GetFileName(chain.Names[^1]), "-F", "qcow2"] : [];
            Succeed("create", ["-q", "-f", "qcow2", "-o", $"cluster_size={1 << layer.ClusterBits},compat=v{layer.Version}", .. backing, name, $"{layer.Length}"]);
            Array.Resize(ref view, layer.Length);
            view = [.. view];
            EventLoop.RunMain(() => WriteAsync(name, layer, view));
            chain.Names.Add(name);
            chain.Views.Add(view);
        }

        return chain;
    }

    private static async IoTask<int> WriteAsync(string name, Layer layer, byte[] view)
    {
        BlockNode node = await new BlockGraph().OpenFileAsync(name, "qcow2", OpenFlags.ReadWrite);
        foreach (Change change in layer.Changes)
        {
            int start = Math.Min(change.Start * Unit, layer.Length - Unit);
            int length = Math.Min(change.Count * Unit, layer.Length - start);
            view.AsSpan(start, length).Fill(change.Value < 64 ? (byte)0 : change.Value);
            using var data = new IoBuffer(length);
            data.Span.Fill(change.Value);
            await (change.Value < 64 ? node.WriteZeroesAsync(start, length, ZeroFlags.MayUnmap) : node.WriteAsync(start, data.Vector));
        }

        await node.CloseAsync();
        return 0;
    }

    private static byte[] Read(string name)
    {
        byte[] content = [];
        EventLoop.RunMain(async () =>
        {
            BlockNode node = await new BlockGraph().OpenFileAsync(name, "qcow2", OpenFlags.None);
            using var data = new IoBuffer((int)node.Length);
            await node.ReadAsync(0, data.Vector);
            content = data.Span.ToArray();
            await node.CloseAsync();
            return 0;
        });
        return content;
    }

    private static void Succeed(string command, params string[] words)
    {
        CliResult result = CliRunner.Image([command, .. words]);
        Assert.True(result.Status == 0 && result.Error.Length == 0, $"{command} {string.Join(' ', words)}: {result.Status}\n{result.Out}{result.Error}");
    }

    private sealed record Change(int Start, int Count, byte Value);

    private sealed record Layer(int Length, int ClusterBits, int Version, List<Change> Changes);

    private sealed record Chain(List<string> Names, List<byte[]> Views);
}
