using CsCheck;
using Ingot.Block;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Whatever is done to an image, it reads like an array of bytes that the same was done to, and its tables add up.</summary>
public class Qcow2ModelTests
{
    private const int MaxSize = 3 << 20;

    public static TheoryData<int, int, string, string, bool> Variants
    {
        get
        {
            var data = new TheoryData<int, int, string, string, bool>();
            for (int bits = 9; bits <= 21; bits++)
            {
                data.Add(bits, 16, "v3", "zlib", bits % 2 == 0);
            }

            foreach (int width in (int[])[1, 2, 4, 8, 32, 64])
            {
                data.Add(9, width, "v3", "zstd", width > 4);
                data.Add(12, width, "v3", "zlib", width <= 4);
            }

            data.Add(9, 16, "v2", "zlib", false);
            data.Add(12, 16, "v2", "zlib", true);
            data.Add(16, 16, "v2", "zlib", true);
            return data;
        }
    }

    private static Gen<Step[]> Steps(int max) => Gen.Select(
        Gen.Frequency((6, Gen.Const(StepKind.Write)), (2, Gen.Const(StepKind.Zero)), (2, Gen.Const(StepKind.ZeroUnmap)), (2, Gen.Const(StepKind.Discard)),
            (3, Gen.Const(StepKind.Read)), (1, Gen.Const(StepKind.Flush)), (1, Gen.Const(StepKind.Compressed)), (1, Gen.Const(StepKind.Reopen)), (1, Gen.Const(StepKind.Resize))),
        Gen.Double.Unit,
        Gen.Frequency((3, Gen.Int[1, 3000]), (2, Gen.Int[1, 200_000])),
        Gen.Int,
        (kind, at, length, seed) => new Step(kind, at, length, seed)).Array[1, max];

    [Theory]
    [MemberData(nameof(Variants))]
    public void Reads_like_an_array_of_bytes(int clusterBits, int refcountBits, string version, string compression, bool backed)
        => Gen.Select(Gen.Int[1, MaxSize / 512], Gen.Int[0, MaxSize / 512], Steps(40)).Sample(
            (sectors, backingSectors, steps) => Loop.Run(() => new Model(clusterBits, refcountBits, version, compression).RunAsync(sectors * 512, backed ? backingSectors * 512 : 0, steps)),
            iter: 12,
            threads: 1);

    [Theory]
    [InlineData(14, true, false, false, true)]
    [InlineData(14, true, false, false, false)]
    [InlineData(16, true, false, false, true)]
    [InlineData(16, true, false, false, false)]
    [InlineData(21, true, false, false, true)]
    [InlineData(14, true, true, false, true)]
    [InlineData(9, false, true, false, true)]
    [InlineData(12, false, true, false, false)]
    [InlineData(16, false, true, false, true)]
    [InlineData(12, false, true, true, false)]
    [InlineData(16, true, true, true, false)]
    public void Subclusters_and_data_files_read_like_an_array_of_bytes(int clusterBits, bool extended, bool hasDataFile, bool isRaw, bool backed)
        => Gen.Select(Gen.Int[1, MaxSize / 512], Gen.Int[0, MaxSize / 512], Steps(40)).Sample(
            (sectors, backingSectors, steps) => Loop.Run(() => new Model(clusterBits, 16, "v3", "zlib", extended, hasDataFile, isRaw).RunAsync(sectors * 512, backed ? backingSectors * 512 : 0, steps)),
            iter: 30,
            threads: 1);

    [Theory]
    [InlineData(9, false, false)]
    [InlineData(12, false, false)]
    [InlineData(16, false, false)]
    [InlineData(14, true, false)]
    [InlineData(16, true, false)]
    [InlineData(18, true, true)]
    [InlineData(12, false, true)]
    public void Requests_in_flight_at_the_same_time_do_not_disturb_each_other(int clusterBits, bool extended, bool hasDataFile)
        => Gen.Select(Gen.Int, Gen.Bool).Sample(
            (seed, backed) => Loop.Run(() => RunConcurrentlyAsync(clusterBits, extended, hasDataFile, seed, backed)),
            iter: 12,
            threads: 1);

    // Each of several writers owns every n-th piece of the disk, smaller than a cluster, so that they meet in clusters but never in bytes.
    private static async IoTask RunConcurrentlyAsync(int clusterBits, bool extended, bool hasDataFile, int seed, bool backed)
    {
        const int Size = 1 << 20;
        const int Piece = 1536;
        const int Writers = 6;
        byte[] expected = new byte[Size];
        MemoryDisk? backing = null;
        if (backed)
        {
            expected = Qcow2Fixture.Pattern(Size, seed);
            backing = new MemoryDisk(expected.ToArray(), seed);
        }

        var disk = new MemoryDisk(null, seed);
        MemoryDisk? dataFile = hasDataFile ? new MemoryDisk(null, seed + 1) : null;
        await Qcow2Fixture.CreateAsync(disk, Size, dataFile, ("cluster_size", $"{1 << clusterBits}"), ("extended_l2", extended ? "on" : "off"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, backing, options: new Qcow2Options { L2CacheSize = 1, RefcountCacheSize = 1 }, dataFile: dataFile);
        var running = new IoTask[Writers + 1];
        for (int i = 0; i < Writers; i++)
        {
            running[i] = WriterAsync(node, expected, Piece, i, Writers, seed);
        }

        running[Writers] = FlusherAsync(node);
        foreach (IoTask task in running)
        {
            await task;
        }

        Assert.Equal(expected, await Qcow2Fixture.ReadAsync(node, 0, Size));
        await node.CloseAsync();
        Qcow2Node again = await Qcow2Fixture.OpenAsync(disk, backing, dataFile: dataFile);
        Assert.Equal(expected, await Qcow2Fixture.ReadAsync(again, 0, Size));
        await Model.CheckAsync(again);
        await again.CloseAsync();
    }

    private static async IoTask WriterAsync(Qcow2Node node, byte[] expected, int piece, int index, int count, int seed)
    {
        var random = new Random(seed + index);
        int pieces = expected.Length / piece;
        for (int i = 0; i < 60; i++)
        {
            int at = ((random.Next(pieces / count) * count) + index) * piece;
            byte[] bytes = Qcow2Fixture.Pattern(piece, random.Next());
            switch (random.Next(5))
            {
                case 0:
                    bytes = new byte[piece];
                    await node.WriteZeroesAsync(at, piece, random.Next(2) == 0 ? ZeroFlags.MayUnmap : ZeroFlags.None);
                    break;
                case 1:
                    Assert.Equal(expected.AsSpan(at, piece).ToArray(), await Qcow2Fixture.ReadAsync(node, at, piece));
                    continue;
                default:
                    await Qcow2Fixture.WriteAsync(node, at, bytes);
                    break;
            }

            bytes.CopyTo(expected, at);
        }
    }

    private static async IoTask FlusherAsync(Qcow2Node node)
    {
        for (int i = 0; i < 20; i++)
        {
            await EventLoop.Current.DelayAsync(TimeSpan.Zero);
            await node.FlushAsync();
        }
    }
}
