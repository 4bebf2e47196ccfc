using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Corrupt tables do not lead writes into metadata: the image is marked corrupt and takes no more changes.</summary>
public class OverlapTests
{
    private const long Cluster = 65536;

    [Theory]
    [InlineData("l1", "active L1 table")]
    [InlineData("l2", "active L2 table")]
    [InlineData("refcount-table", "refcount table")]
    [InlineData("refcount-block", "refcount block")]
    public void Metadata_is_kept_from_writes(string where, string name) => Loop.Run(async () =>
    {
        byte[] image = await MakeAsync();
        long target = Places(image)[where];
        Set(image, Places(image)["l2"], (ulong)target | (1UL << 63));
        var disk = new MemoryDisk(image);
        var warnings = new List<string>();
        Qcow2Node node = await OpenAsync(disk, MetadataSections.Cached, warnings);
        Errno first = await WriteStatusAsync(node, 0);
        Errno second = await WriteStatusAsync(node, 1 << 20);
        ErrnoException read = await ThrowsAsync(async () =>
        {
            await Qcow2Fixture.ReadAsync(node, 1 << 20, 512);
            return node;
        });
        Assert.Equal(Errno.ENOMEDIUM, await node.FlushAsync().Status());
        await node.CloseAsync();
        Assert.Equal((Errno.EIO, Errno.ENOMEDIUM, Errno.ENOMEDIUM), (first, second, read.Errno));
        Assert.Equal([$"qcow2: Marking image as corrupt: Preventing invalid write on metadata (overlaps with {name}); further corruption events will be suppressed"], warnings);
        byte[] after = disk.Snapshot();
        Assert.Equal(image.AsSpan((int)target + 512, (int)Cluster - 512).ToArray(), after.AsSpan((int)target + 512, (int)Cluster - 512).ToArray());
        ErrnoException refused = await ThrowsAsync(() => OpenAsync(disk, MetadataSections.Cached, []));
        Assert.Equal("qcow2: Image is corrupt; cannot be opened read/write", refused.Message);
        await (await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.None)).CloseAsync();
    });

    [Theory]
    [InlineData("refcount-table", "refcount table")]
    [InlineData("refcount-block", "refcount block")]
    [InlineData("l1", "active L1 table")]
    [InlineData("l2", "active L2 table")]
    public void Metadata_that_counts_as_free_is_not_given_away(string where, string name) => Loop.Run(async () =>
    {
        byte[] image = await MakeAsync();
        Dictionary<string, long> places = Places(image);
        BinaryPrimitives.WriteUInt16BigEndian(image.AsSpan((int)(places["refcount-block"] + (places[where] / Cluster * 2))), 0);
        var warnings = new List<string>();
        Qcow2Node node = await OpenAsync(new MemoryDisk(image), MetadataSections.Cached, warnings);
        Assert.Equal(Errno.EIO, await WriteStatusAsync(node, 1 << 20));
        await node.CloseAsync();
        Assert.Contains($"overlaps with {name}", Assert.Single(warnings));
    });

    [Fact]
    public void The_header_is_not_given_away() => Loop.Run(async () =>
    {
        byte[] image = await MakeAsync();
        BinaryPrimitives.WriteUInt16BigEndian(image.AsSpan((int)Places(image)["refcount-block"]), 0);
        var warnings = new List<string>();
        Qcow2Node node = await OpenAsync(new MemoryDisk(image), MetadataSections.None, warnings);
        Assert.Equal(Errno.EIO, await WriteStatusAsync(node, 1 << 20));
        await node.CloseAsync();
        Assert.Contains("Preventing invalid allocation of data cluster at offset 0", Assert.Single(warnings));
    });

    [Fact]
    public void Counts_that_lie_where_no_cluster_begins_are_corruption() => Loop.Run(async () =>
    {
        byte[] image = await MakeAsync();
        long table = Places(image)["refcount-table"];
        Set(image, table + 8, (ulong)image.Length + 512);
        var warnings = new List<string>();
        var disk = new MemoryDisk(image);
        Qcow2Node node = await OpenAsync(disk, MetadataSections.Cached, warnings);
        Assert.Equal(Errno.EIO, await WriteStatusAsync(node, 1 << 20));
        await node.CloseAsync();
        Assert.Contains($"Refblock offset 0x{image.Length + 512:x} unaligned (reftable index: 0x1)", Assert.Single(warnings));
        Assert.Equal("qcow2: Image is corrupt; cannot be opened read/write", (await ThrowsAsync(() => OpenAsync(disk, MetadataSections.Cached, []))).Message);
    });

    [Theory]
    [InlineData("overlap-check=none", "overlap-check.main-header=on", MetadataSections.MainHeader)]
    [InlineData("overlap-check.main-header=off", "overlap-check=none", MetadataSections.None)]
    [InlineData("overlap-check=none,overlap-check.main-header=on", "overlap-check.template=constant", MetadataSections.Constant)]
    [InlineData("overlap-check=none,overlap-check.template=none", "cache-size=1M", MetadataSections.None)]
    public void Changed_options_replace_what_they_are_about(string old, string changes, object expected)
    {
        OptionSet options = KeyValueText.Parse(old);
        Qcow2Options.Change(options, KeyValueText.Parse(changes));
        Assert.Equal(expected, Qcow2Options.Take(options, OpenFlags.None).OverlapCheck);
    }

    [Fact]
    public void Sizes_of_caches_replace_each_other()
    {
        OptionSet options = KeyValueText.Parse("cache-size=1M");
        Qcow2Options.Change(options, KeyValueText.Parse("l2-cache-size=512k"));
        Assert.Equal(1 << 20, Qcow2Options.Take(options.Clone(), OpenFlags.None).CacheSize);
        Qcow2Options.Change(options, KeyValueText.Parse("refcount-cache-size=128k"));
        Qcow2Options taken = Qcow2Options.Take(options.Clone(), OpenFlags.None);
        Assert.Equal((null, 512 << 10, 128 << 10), (taken.CacheSize, taken.L2CacheSize, taken.RefcountCacheSize));
        Qcow2Options.Change(options, KeyValueText.Parse("cache-size=2M"));
        taken = Qcow2Options.Take(options, OpenFlags.None);
        Assert.Equal((2 << 20, null, null), (taken.CacheSize, taken.L2CacheSize, taken.RefcountCacheSize));
    }

    [Fact]
    public void A_level_given_twice_must_be_one()
    {
        Assert.Equal(MetadataSections.Constant, Take("overlap-check=constant,overlap-check.template=constant"));
        Assert.Equal(
            "Conflicting values for qcow2 options 'overlap-check' ('constant') and 'overlap-check.template' ('all')",
            Assert.Throws<OptionException>(() => Take("overlap-check=constant,overlap-check.template=all")).Message);
        OptionSet options = KeyValueText.Parse("cache=x,cache.direct=on");
        OptionSet cache = options.TakeSet("cache");
        cache.TakeBool("direct");
        Assert.Equal("Parameter 'cache' is given both as a value and with members", Assert.Throws<OptionException>(() => cache.RefuseRest("the options")).Message);
    }

    [Fact]
    public void Levels_and_switches_choose_what_is_guarded()
    {
        Assert.Equal(MetadataSections.Cached, Take(""));
        Assert.Equal(MetadataSections.None, Take("overlap-check=none"));
        Assert.Equal(MetadataSections.All, Take("overlap-check.template=all"));
        Assert.Equal(MetadataSections.Constant | MetadataSections.InactiveL2, Take("overlap-check.template=constant,overlap-check.inactive-l2=on"));
        Assert.Equal(MetadataSections.Cached & ~MetadataSections.MainHeader, Take("overlap-check.main-header=off"));
        Assert.StartsWith("Unsupported value 'blah' for qcow2 option 'overlap-check'", Assert.Throws<OptionException>(() => Take("overlap-check=blah")).Message);
    }

    [Fact]
    public void Without_the_check_writes_go_where_tables_say() => Loop.Run(async () =>
    {
        byte[] image = await MakeAsync();
        Dictionary<string, long> places = Places(image);
        Set(image, places["l2"], (ulong)places["refcount-table"] | (1UL << 63));
        Qcow2Node node = await OpenAsync(new MemoryDisk(image), MetadataSections.None, []);
        Assert.Equal(Errno.None, await WriteStatusAsync(node, 0));
        await node.CloseAsync();
    });

    [Fact]
    public void Sets_of_clusters_are_asked_for_runs()
    {
        var random = new Random(3);
        var set = new ClusterSet();
        var model = new SortedSet<long>();
        for (int i = 0; i < 2000; i++)
        {
            long cluster = random.Next(100_000);
            if (random.Next(4) == 0)
            {
                set.Remove(cluster);
                model.Remove(cluster);
            }
            else
            {
                set.Add(cluster);
                model.Add(cluster);
            }

            long first = random.Next(100_000);
            long last = first + random.Next(300);
            Assert.Equal(model.GetViewBetween(first, last).Count > 0, set.Intersects(first, last));
        }
    }

    private static MetadataSections Take(string options) => Qcow2Options.Take(KeyValueText.Parse(options), OpenFlags.None).OverlapCheck;

    private static async IoTask<byte[]> MakeAsync()
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 4 << 20);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, new byte[Cluster]);
        await node.CloseAsync();
        return disk.Snapshot();
    }

    private static Dictionary<string, long> Places(byte[] image)
    {
        long l1 = Get(image, 40);
        long table = Get(image, 48);
        return new Dictionary<string, long>
        {
            ["header"] = 0,
            ["l1"] = l1,
            ["l2"] = Get(image, l1) & long.MaxValue,
            ["refcount-table"] = table,
            ["refcount-block"] = Get(image, table),
        };
    }

    private static long Get(byte[] image, long offset) => BinaryPrimitives.ReadInt64BigEndian(image.AsSpan((int)offset));

    private static void Set(byte[] image, long offset, ulong value) => BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan((int)offset), value);

    private static async IoTask<Qcow2Node> OpenAsync(MemoryDisk disk, MetadataSections sections, List<string> warnings)
    {
        var options = new Qcow2Options { OverlapCheck = sections };
        return new Qcow2Node(null, await Qcow2Image.OpenAsync(new ChildNode(disk, IsOwned: false), OpenFlags.ReadWrite, options, warnings.Add), OpenFlags.ReadWrite);
    }

    private static async IoTask<Errno> WriteStatusAsync(Qcow2Node node, long offset)
    {
        using var buffer = new IoBuffer(512);
        return await node.WriteAsync(offset, buffer.Vector).Status();
    }

    private static async IoTask<ErrnoException> ThrowsAsync(Func<IoTask<Qcow2Node>> open)
    {
        try
        {
            await open();
        }
        catch (ErrnoException e)
        {
            return e;
        }

        throw new Xunit.Sdk.XunitException("The image was opened.");
    }
}
