using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>What QEMU writes we read, what we write QEMU finds faultless and reads the same. Needs qemu-img and qemu-io.</summary>
public class QemuInteropTests
{
    private const int Size = 5 << 20;

    public static bool HasQemu => Qemu.IsInstalled;

    public static TheoryData<string, string> Formats => new()
    {
        { "512", "refcount_bits=16" }, { "1k", "refcount_bits=1" }, { "2k", "refcount_bits=2" }, { "4k", "refcount_bits=4" }, { "8k", "refcount_bits=8" },
        { "16k", "refcount_bits=32" }, { "32k", "refcount_bits=64" }, { "64k", "refcount_bits=16" }, { "128k", "lazy_refcounts=on" }, { "256k", "compression_type=zstd" },
        { "512k", "refcount_bits=16" }, { "1M", "refcount_bits=16" }, { "2M", "refcount_bits=16" }, { "512", "compat=0.10" }, { "64k", "compat=0.10" },
        { "16k", "extended_l2=on" }, { "64k", "extended_l2=on" }, { "2M", "extended_l2=on" },
        { "64k", "preallocation=metadata" }, { "4k", "preallocation=falloc" }, { "64k", "preallocation=full" },
    };

    [Theory(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    [MemberData(nameof(Formats))]
    public void New_images_are_those_of_qemu_img(string clusterSize, string option)
    {
        using var directory = new TempDirectory();
        foreach (long size in (long[])[0, 512, 1_000_000, 3L << 30])
        {
            if (option.StartsWith("preallocation", StringComparison.Ordinal) && size > 1 << 20)
            {
                continue;
            }

            Qemu.Img("create", "-q", "-f", "qcow2", "-o", $"cluster_size={clusterSize},{option}", directory["theirs"], $"{size}");
            Loop.Run(() => CreateAsync(directory["ours"], size, clusterSize, option));
            Qemu.Check(directory["ours"]);
            Assert.Equal(InfoOf(directory["theirs"]), InfoOf(directory["ours"]).Replace("ours", "theirs"));
            if (option is not ("preallocation=falloc" or "preallocation=full"))
            {
                // With these QEMU moves the refcount table early; that is its own way to the same.
                Assert.Equal(FirstBytes(directory["theirs"], 512), FirstBytes(directory["ours"], 512));
            }
        }
    }

    [Theory(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    [MemberData(nameof(Formats))]
    public void Qemu_reads_what_we_write(string clusterSize, string option)
    {
        using var directory = new TempDirectory();
        byte[] expected = new byte[Size];
        Loop.Run(async () =>
        {
            await CreateAsync(directory["a"], Size, clusterSize, option);
            BlockNode node = await new BlockGraph().OpenFileAsync(directory["a"], "qcow2", OpenFlags.ReadWrite);
            await ScribbleAsync(node, expected, 1);
            await node.CloseAsync();
        });
        Qemu.Check(directory["a"]);
        Assert.Equal(expected, Qemu.ReadAll(directory, directory["a"]));
    }

    [Theory(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    [MemberData(nameof(Formats))]
    public void We_read_and_change_what_qemu_writes(string clusterSize, string option)
    {
        using var directory = new TempDirectory();
        byte[] expected = Compressible(Size, 3);
        System.IO.File.WriteAllBytes(directory["raw"], expected);
        string[] compress = option.StartsWith("preallocation", StringComparison.Ordinal) ? [] : ["-c"];
        Qemu.Img(["convert", .. compress, "-O", "qcow2", "-o", $"cluster_size={clusterSize},{option}", directory["raw"], directory["a"]]);
        Qemu.Io(directory["a"], "write -P 7 100k 70k", "write -z 1M 200k", "discard 2M 256k", "write -P 9 2100k 1k");
        byte[] before = Qemu.ReadAll(directory, directory["a"]);
        Loop.Run(async () =>
        {
            BlockNode node = await new BlockGraph().OpenFileAsync(directory["a"], null, OpenFlags.ReadWrite);
            Assert.Equal("qcow2", node.DriverName);
            Assert.Equal(before, await Qcow2Fixture.ReadAsync(node, 0, Size));
            await ScribbleAsync(node, before, 5);
            await node.CloseAsync();
        });
        Qemu.Check(directory["a"]);
        Assert.Equal(before, Qemu.ReadAll(directory, directory["a"]));
    }

    [Theory(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    [InlineData("zlib", "64k")]
    [InlineData("zstd", "64k")]
    [InlineData("zlib", "512")]
    [InlineData("zstd", "4k")]
    [InlineData("zlib", "2M")]
    public void Qemu_reads_what_we_compress(string method, string clusterSize)
    {
        using var directory = new TempDirectory();
        byte[] expected = Compressible(Size, 9);
        Loop.Run(async () =>
        {
            await CreateAsync(directory["a"], Size, clusterSize, $"compression_type={method}");
            BlockNode node = await new BlockGraph().OpenFileAsync(directory["a"], "qcow2", OpenFlags.ReadWrite);
            for (int at = 0; at < Size; at += 2 << 20)
            {
                await Qcow2Fixture.WriteAsync(node, at, expected.AsSpan(at, Math.Min(2 << 20, Size - at)).ToArray(), WriteFlags.Compressed);
            }

            Assert.Equal(expected, await Qcow2Fixture.ReadAsync(node, 0, Size));
            await node.CloseAsync();
        });
        Qemu.Check(directory["a"]);
        Assert.Equal(expected, Qemu.ReadAll(directory, directory["a"]));
        Assert.True(clusterSize == "2M" || new FileInfo(directory["a"]).Length < Size * 3 / 4);
    }

    [Fact(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    public void Backing_chains_are_followed_by_names_relative_to_the_image()
    {
        using var directory = new TempDirectory();
        byte[] expected = Compressible(1 << 20, 4);
        Directory.CreateDirectory(directory["sub"]);
        System.IO.File.WriteAllBytes(directory["sub/base.raw"], expected);
        Qemu.Img("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", directory["sub/1"]);
        Qemu.Io(directory["sub/1"], "write -P 3 64k 100k");
        expected.AsSpan(64 << 10, 100 << 10).Fill(3);
        Qemu.Img("create", "-q", "-f", "qcow2", "-b", "sub/1", "-F", "qcow2", directory["2"], "2M");
        Array.Resize(ref expected, 2 << 20);
        Loop.Run(async () =>
        {
            BlockNode node = await new BlockGraph().OpenFileAsync(directory["2"], null, OpenFlags.ReadWrite);
            Assert.Equal(expected, await Qcow2Fixture.ReadAsync(node, 0, expected.Length));
            await ScribbleAsync(node, expected, 11);
            await node.CloseAsync();
        });
        Qemu.Check(directory["2"]);
        Assert.Equal(expected, Qemu.ReadAll(directory, directory["2"]));
    }

    [Theory(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    [InlineData("64k", "compat=1.1")]
    [InlineData("512", "compat=1.1")]
    [InlineData("4k", "compat=0.10")]
    [InlineData("4k", "refcount_bits=2")]
    public void Snapshots_keep_what_they_had(string clusterSize, string option)
    {
        using var directory = new TempDirectory();
        byte[] first = Compressible(Size, 21);
        System.IO.File.WriteAllBytes(directory["raw"], first);
        Qemu.Img("convert", "-O", "qcow2", "-o", $"cluster_size={clusterSize},{option}", directory["raw"], directory["a"]);
        Qemu.Img("snapshot", "-c", "one", directory["a"]);
        byte[] now = first.ToArray();
        Loop.Run(async () =>
        {
            BlockNode node = await new BlockGraph().OpenFileAsync(directory["a"], null, OpenFlags.ReadWrite);
            ImageInfo info = await node.GetInfoAsync();
            Assert.Equal("one", Assert.Single(info.Snapshots).Name);
            await ScribbleAsync(node, now, 31);
            await Model.CheckAsync((Qcow2Node)node);
            await node.CloseAsync();
        });
        Qemu.Check(directory["a"]);
        Assert.Equal(now, Qemu.ReadAll(directory, directory["a"]));
        Assert.Equal(first, Qemu.ReadAll(directory, directory["a"], "-l", "one"));
    }

    [Theory(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    [InlineData("64k", 16)]
    [InlineData("512", 1)]
    [InlineData("2M", 64)]
    public void Measures_like_qemu_img(string clusterSize, int refcountBits)
    {
        using var directory = new TempDirectory();
        foreach (long size in (long[])[0, 1, 512, 1_000_000, 123_456_789, 64L << 30, (1L << 40) + 512])
        {
            if (clusterSize == "512" && size > 1L << 36)
            {
                continue;
            }

            string theirs = Qemu.Img("measure", "--output", "json", "-O", "qcow2", "-o", $"cluster_size={clusterSize},refcount_bits={refcountBits}", "--size", $"{size}");
            Qcow2Size ours = Qcow2Measure.ForSize(size, Qcow2Fixture.Options(("cluster_size", clusterSize), ("refcount_bits", $"{refcountBits}")));
            Assert.Contains($"\"required\": {ours.Required},", theirs);
            Assert.Contains($"\"fully-allocated\": {ours.FullyAllocated}\n", theirs);
        }
    }

    private static IoTask CreateAsync(string name, long size, string clusterSize, string option)
    {
        string[] parts = option.Split('=');
        return new Qcow2Driver().CreateAsync(new CreateRequest(new BlockGraph(), name, size, Qcow2Fixture.Options(("cluster_size", clusterSize), (parts[0], parts[1]))));
    }

    private static string InfoOf(string image)
        => string.Join('\n', Qemu.Img("info", "--output", "json", image).Split('\n').Where(l => !l.Contains("actual-size")));

    private static byte[] FirstBytes(string image, int count)
    {
        byte[] bytes = System.IO.File.ReadAllBytes(image).AsSpan(0, count).ToArray();
        return bytes;
    }

    private static byte[] Compressible(int length, int seed)
    {
        byte[] bytes = Qcow2Fixture.Pattern(length, seed);
        for (int at = 0; at < length; at += 8192)
        {
            // Half of it repeats, some of it is zero.
            bytes.AsSpan(at, Math.Min(5000, length - at)).Fill((byte)(at / 8192 % 3 * 17));
        }

        bytes.AsSpan(length / 2, length / 10).Clear();
        return bytes;
    }

    private static async IoTask ScribbleAsync(BlockNode node, byte[] expected, int seed)
    {
        var random = new Random(seed);
        for (int i = 0; i < 60; i++)
        {
            int offset = random.Next(expected.Length);
            int length = Math.Min(random.Next(1, i % 4 == 0 ? 300_000 : 5000), expected.Length - offset);
            byte[] bytes = Qcow2Fixture.Pattern(length, i);
            if (i % 5 == 0)
            {
                bytes = new byte[length];
                await node.WriteZeroesAsync(offset, length, i % 2 == 0 ? ZeroFlags.MayUnmap : ZeroFlags.None);
            }
            else
            {
                await Qcow2Fixture.WriteAsync(node, offset, bytes);
            }

            bytes.CopyTo(expected, offset);
        }
    }
}
