using CsCheck;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Power cuts and failing disks: what was flushed is there, and an image never uses a cluster that is not counted.</summary>
public class Qcow2FaultTests
{
    private const int Size = 512 << 10;

    [Theory]
    [InlineData("512", "v3", false)]
    [InlineData("4k", "v3", false)]
    [InlineData("4k", "v3", true)]
    [InlineData("4k", "v2", false)]
    [InlineData("64k", "v3", false)]
    public void After_a_power_cut_flushed_data_is_there_and_clusters_are_at_worst_leaked(string clusterSize, string version, bool lazy)
        => Gen.Int[0, 1 << 20].Sample(seed => Loop.Run(() => CutPowerAsync(clusterSize, version, lazy, seed)), iter: 25, threads: 1);

    [Theory]
    [InlineData("512")]
    [InlineData("4k")]
    [InlineData("64k")]
    public void A_failing_operation_breaks_nothing_else(string clusterSize) => Loop.Run(async () =>
    {
        for (int failAt = 1, operations = int.MaxValue; failAt < operations && failAt < 400; failAt += failAt < 60 ? 1 : 7)
        {
            operations = await FailOnceAsync(clusterSize, failAt);
        }
    });

    [Fact]
    public void A_disk_that_is_full_fails_the_write_and_nothing_else() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", "4k"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(8192, 1));
        disk.FailAt = disk.Operations + 1;
        disk.KeepsFailing = true;
        Assert.Equal(Errno.EIO, await Qcow2Fixture.WriteAsync(node, 64 << 10, Qcow2Fixture.Pattern(100, 2)).Status());
        Assert.Equal(Errno.EIO, await node.FlushAsync().Status());
        disk.FailAt = 0;
        await Qcow2Fixture.WriteAsync(node, 64 << 10, Qcow2Fixture.Pattern(100, 2));
        Assert.Equal(Qcow2Fixture.Pattern(100, 2), await Qcow2Fixture.ReadAsync(node, 64 << 10, 100));
        await node.CloseAsync();
        Qcow2Node again = await Qcow2Fixture.OpenAsync(disk);
        Assert.Equal(Qcow2Fixture.Pattern(8192, 1), await Qcow2Fixture.ReadAsync(again, 0, 8192));
        await Model.CheckAsync(again);
    });

    [Theory]
    [InlineData("512", "v3")]
    [InlineData("64k", "v3")]
    [InlineData("4k", "v2")]
    public void With_published_metadata_a_kill_loses_no_completed_write(string clusterSize, string version)
        => Gen.Int[0, 1 << 20].Sample(seed => Loop.Run(() => KillAsync(clusterSize, version, seed)), iter: 20, threads: 1);

    // What the kernel was given survives the process, flushed or not.
    private static async IoTask KillAsync(string clusterSize, string version, int seed)
    {
        var disk = new MemoryDisk(null, seed);
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", clusterSize), ("compat", version));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, options: new Qcow2Options { PublishMetadata = true });
        byte[] completed = new byte[Size];
        bool[] unsure = new bool[Size];
        byte[]? killed = null;
        (byte[] Completed, bool[] Unsure) atKill = ([], []);
        const int Writers = 4;
        int left = new Random(seed).Next(10, 80);
        var running = new IoTask[Writers];
        for (int i = 0; i < Writers; i++)
        {
            running[i] = WriteAsync(i);
        }

        foreach (IoTask task in running)
        {
            await task;
        }

        await CheckAfterCutAsync(new MemoryDisk(killed), atKill.Completed, atKill.Unsure, lazy: false);

        // Writers meet in clusters, not in bytes.
        async IoTask WriteAsync(int index)
        {
            const int Piece = 1536;
            var random = new Random(seed + index);
            for (int i = 0; i < 20; i++)
            {
                int offset = ((random.Next(Size / Piece / Writers) * Writers) + index) * Piece;
                byte[] bytes = Qcow2Fixture.Pattern(Piece, random.Next());
                unsure.AsSpan(offset, Piece).Fill(true);
                await Qcow2Fixture.WriteAsync(node, offset, bytes);
                unsure.AsSpan(offset, Piece).Clear();
                bytes.CopyTo(completed, offset);
                if (--left == 0)
                {
                    killed = disk.Snapshot();
                    atKill = (completed.ToArray(), unsure.ToArray());
                }
            }
        }
    }

    private static async IoTask CutPowerAsync(string clusterSize, string version, bool lazy, int seed)
    {
        var random = new Random(seed);
        var disk = new MemoryDisk(null, seed) { TracksDurability = true };
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", clusterSize), ("compat", version), ("lazy_refcounts", lazy ? "on" : "off"));
        await disk.FlushAsync();
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, options: new Qcow2Options { RefcountCacheSize = 1, L2CacheSize = 1 });
        byte[] written = new byte[Size];
        byte[] flushed = new byte[Size];
        bool[] unsure = new bool[Size];
        int cutAt = random.Next(1, 60);
        for (int i = 0; i < cutAt; i++)
        {
            await ChangeAsync(node, random, written, unsure);
            if (random.Next(8) == 0)
            {
                await node.FlushAsync();
                written.CopyTo(flushed, 0);
                Array.Clear(unsure);
            }
        }

        for (int pick = 0; pick < 4; pick++)
        {
            var after = new MemoryDisk(disk.AfterPowerCut(pick));
            await CheckAfterCutAsync(after, flushed, unsure, lazy);
        }
    }

    private static async IoTask ChangeAsync(Qcow2Node node, Random random, byte[] written, bool[] unsure)
    {
        int offset = random.Next(Size);
        int length = Math.Min(random.Next(1, random.Next(3) == 0 ? 60_000 : 3000), Size - offset);
        int kind = random.Next(6);
        byte[] bytes = kind < 4 ? Qcow2Fixture.Pattern(length, random.Next()) : new byte[length];
        unsure.AsSpan(offset, length).Fill(true);
        switch (kind)
        {
            case 4:
                await node.WriteZeroesAsync(offset, length, ZeroFlags.MayUnmap);
                bytes.CopyTo(written, offset);
                break;
            case 5:
                await node.DiscardAsync(offset, length);
                (await Qcow2Fixture.ReadAsync(node, offset, length)).CopyTo(written, offset);
                break;
            default:
                await Qcow2Fixture.WriteAsync(node, offset, bytes);
                bytes.CopyTo(written, offset);
                break;
        }
    }

    private static async IoTask CheckAfterCutAsync(MemoryDisk disk, byte[] flushed, bool[] unsure, bool lazy)
    {
        if (!lazy)
        {
            Qcow2Node before = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.Check);
            var messages = new List<string>();
            Qcow2CheckResult result = await before.CheckAsync(report: messages.Add);
            Assert.True(result.Corruptions + result.CheckErrors == 0, string.Join('\n', messages));
            await before.CloseAsync();
        }

        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.ReadWrite | OpenFlags.Check);
        Qcow2CheckResult repaired = await node.CheckAsync(Qcow2Repair.All);
        Assert.Equal(0, repaired.Corruptions + repaired.Leaks + repaired.CheckErrors);
        await Model.CheckAsync(node);
        byte[] now = await Qcow2Fixture.ReadAsync(node, 0, Size);
        for (int i = 0; i < Size; i++)
        {
            if (!unsure[i] && now[i] != flushed[i])
            {
                Assert.Fail($"byte {i} was flushed and is gone");
            }
        }
    }

    private static async IoTask<int> FailOnceAsync(string clusterSize, int failAt)
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", clusterSize));
        int before = disk.Operations;
        disk.FailAt = before + failAt;
        byte[] expected = new byte[Size];
        bool[] unsure = new bool[Size];
        Qcow2Node? node = await TryOpenAsync(disk);
        if (node is not null)
        {
            var random = new Random(5);
            for (int i = 0; i < 25; i++)
            {
                int offset = random.Next(Size);
                int length = Math.Min(random.Next(1, i % 3 == 0 ? 70_000 : 3000), Size - offset);
                byte[] bytes = Qcow2Fixture.Pattern(length, i);
                IoTask operation = (i % 6) switch
                {
                    4 => node.WriteZeroesAsync(offset, length, ZeroFlags.MayUnmap),
                    5 => node.FlushAsync(),
                    _ => Qcow2Fixture.WriteAsync(node, offset, bytes),
                };
                bool failed = await operation.Status() != Errno.None;
                if (i % 6 != 5)
                {
                    unsure.AsSpan(offset, length).Fill(failed);
                    (i % 6 == 4 ? new byte[length] : bytes).CopyTo(expected, offset);
                }
            }

            disk.FailAt = disk.FailAt > disk.Operations ? disk.FailAt : 0;
            byte[] now = await Qcow2Fixture.ReadAsync(node, 0, Size);
            AssertSame(expected, now, unsure);
            Errno closed = await node.CloseAsync().Status();
            Assert.True(closed == Errno.None || disk.FailAt != 0);
            if (closed != Errno.None)
            {
                return disk.Operations - before;
            }
        }

        int operations = disk.Operations - before;
        disk.FailAt = 0;
        Qcow2Node again = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.Check);
        var messages = new List<string>();
        Qcow2CheckResult result = await again.CheckAsync(report: messages.Add);
        Assert.True(result.Corruptions + result.CheckErrors == 0, $"failure {failAt}: {string.Join('\n', messages)}");
        AssertSame(expected, await Qcow2Fixture.ReadAsync(again, 0, Size), unsure);
        return operations;
    }

    private static void AssertSame(byte[] expected, byte[] now, bool[] unsure)
    {
        for (int i = 0; i < Size; i++)
        {
            if (!unsure[i] && now[i] != expected[i])
            {
                Assert.Fail($"byte {i} differs");
            }
        }
    }

    private static async IoTask<Qcow2Node?> TryOpenAsync(MemoryDisk disk)
    {
        try
        {
            return await Qcow2Fixture.OpenAsync(disk);
        }
        catch (ErrnoException)
        {
            return null;
        }
    }
}
