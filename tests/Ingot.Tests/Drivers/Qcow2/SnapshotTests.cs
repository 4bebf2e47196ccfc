using CsCheck;
using Ingot.Block;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Internal snapshots beside arrays of bytes: writes, discards, snapshots made, applied and deleted; checked after each of the latter.</summary>
public class SnapshotTests
{
    private const int MaxSize = 1 << 20;

    private enum Act
    {
        Write,
        Compressed,
        Zero,
        Resize,
        Create,
        Apply,
        Delete,
        Reopen,
    }

    private static Gen<(Act Kind, double At, int Length, int Seed)[]> Acts => Gen.Select(
        Gen.Frequency((6, Gen.Const(Act.Write)), (1, Gen.Const(Act.Compressed)), (2, Gen.Const(Act.Zero)), (1, Gen.Const(Act.Resize)), (3, Gen.Const(Act.Create)),
            (2, Gen.Const(Act.Apply)), (2, Gen.Const(Act.Delete)), (1, Gen.Const(Act.Reopen))),
        Gen.Double.Unit,
        Gen.Int[1, 60_000],
        Gen.Int[0, int.MaxValue],
        (kind, at, length, seed) => (kind, at, length, seed)).Array[1, 30];

    [Theory]
    [InlineData(9, 16, "v3", false)]
    [InlineData(12, 16, "v3", false)]
    [InlineData(16, 64, "v3", false)]
    [InlineData(14, 16, "v3", true)]
    [InlineData(9, 16, "v2", false)]
    [InlineData(10, 8, "v3", false)]
    public void Snapshots_hold_what_the_disk_was(int clusterBits, int refcountBits, string version, bool extended)
        => Gen.Select(Gen.Int[1, MaxSize / 512], Acts).Sample(
            (sectors, acts) => Loop.Run(() => RunAsync(sectors * 512, acts, [("cluster_size", $"{1 << clusterBits}"), ("refcount_bits", $"{refcountBits}"), ("compat", version), ("extended_l2", extended ? "on" : "off")])),
            iter: 10,
            threads: 1);

    [Fact]
    public void Counts_of_one_bit_have_no_room_for_a_snapshot() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20, ("refcount_bits", "1"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, [1, 2, 3]);
        Assert.Equal(Errno.EINVAL, await node.CreateSnapshotAsync("s", default).Status());
        await Model.CheckAsync(node);
        await node.CloseAsync();
    });

    [Fact]
    public void Ids_and_facts_are_kept() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        DateTimeOffset date = new(2026, 1, 2, 3, 4, 5, 678, TimeSpan.Zero);
        await node.CreateSnapshotAsync("a", date);
        await node.CreateSnapshotAsync(new string('x', 300), date);
        await node.DeleteSnapshotAsync("a");
        await node.CreateSnapshotAsync("b", date);
        await node.CloseAsync();
        node = await Qcow2Fixture.OpenAsync(disk);
        ImageInfo info = await node.GetInfoAsync();
        Assert.Equal(["2", "3"], info.Snapshots.Select(s => s.Id));
        Assert.Equal([new string('x', 255), "b"], info.Snapshots.Select(s => s.Name));
        Assert.Equal((date.ToUnixTimeSeconds(), 678_000_000L, 0L, 1L << 20), (info.Snapshots[1].DateSeconds, info.Snapshots[1].DateNanoseconds, info.Snapshots[1].VmStateSize, info.Snapshots[1].DiskSize));
        Assert.Equal(Errno.ENOENT, await node.ApplySnapshotAsync("a").Status());
        Assert.Equal(Errno.ENOENT, await node.DeleteSnapshotAsync("3").Status());
        await node.CloseAsync();
    });

    private static async IoTask RunAsync(int size, (Act Kind, double At, int Length, int Seed)[] acts, (string, string)[] options)
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, size, options);
        bool isOld = options.Contains(("compat", "v2"));
        int cluster = int.Parse(options[0].Item2, System.Globalization.CultureInfo.InvariantCulture);
        byte[] expected = new byte[size];
        var saved = new List<(string Name, byte[] Bytes)>();
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        for (int i = 0; i < acts.Length; i++)
        {
            (Act kind, double at, int length, int seed) = acts[i];
            int offset = (int)(at * expected.Length);
            length = Math.Min(length, expected.Length - offset);
            switch (kind)
            {
                case Act.Write or Act.Compressed:
                    if (kind == Act.Compressed)
                    {
                        offset &= -cluster;
                        length = Math.Min(cluster, expected.Length - offset);
                    }

                    byte[] bytes = kind == Act.Write ? Qcow2Fixture.Pattern(length, seed) : [.. Enumerable.Repeat((byte)seed, length)];
                    await Qcow2Fixture.WriteAsync(node, offset, bytes, kind == Act.Write ? WriteFlags.None : WriteFlags.Compressed);
                    bytes.CopyTo(expected, offset);
                    break;
                case Act.Zero:
                    await node.WriteZeroesAsync(offset, length, seed % 2 == 0 ? ZeroFlags.None : ZeroFlags.MayUnmap);
                    expected.AsSpan(offset, length).Clear();
                    break;
                case Act.Resize when !isOld:
                    Array.Resize(ref expected, Math.Max(512, ((int)(expected.Length * (0.5 + at)) + 511) & -512));
                    await node.ResizeAsync(expected.Length, Preallocation.Off);
                    break;
                case Act.Create:
                    await node.CreateSnapshotAsync($"s{i}", DateTimeOffset.UnixEpoch);
                    saved.Add(($"s{i}", [.. expected]));
                    await Model.CheckAsync(node);
                    break;
                case Act.Apply when saved.Count > 0:
                    await node.ApplySnapshotAsync(saved[seed % saved.Count].Name);
                    expected = [.. saved[seed % saved.Count].Bytes];
                    Assert.Equal(expected, await Qcow2Fixture.ReadAsync(node, 0, expected.Length));
                    await Model.CheckAsync(node);
                    break;
                case Act.Delete when saved.Count > 0:
                    await node.DeleteSnapshotAsync(saved[seed % saved.Count].Name);
                    saved.RemoveAt(seed % saved.Count);
                    await Model.CheckAsync(node);
                    break;
                case Act.Reopen:
                    await node.CloseAsync();
                    node = await Qcow2Fixture.OpenAsync(disk);
                    break;
            }
        }

        Assert.Equal(expected, await Qcow2Fixture.ReadAsync(node, 0, expected.Length));
        await node.CloseAsync();
        foreach ((string name, byte[] bytes) in saved)
        {
            Qcow2Node reader = await Qcow2Fixture.OpenAsync(disk, flags: Ingot.Drivers.OpenFlags.None);
            Assert.True(await reader.TryLoadSnapshotAsync(s => s.Name == name));
            int length = Math.Min(bytes.Length, expected.Length);
            Assert.Equal(bytes.AsSpan(0, length).ToArray(), await Qcow2Fixture.ReadAsync(reader, 0, length));
            await reader.CloseAsync();
        }
    }
}
