using CsCheck;
using Ingot.Block;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Amended images keep their content, and their tables add up.</summary>
public class Qcow2AmendTests
{
    private const int Size = 1 << 20;

    private static readonly string[] Changes =
    [
        "compat=0.10,refcount_bits=16", "compat=1.1", "compat=1.1,lazy_refcounts=on", "compat=1.1,refcount_bits=1", "compat=1.1,refcount_bits=2", "compat=1.1,refcount_bits=8",
        "compat=1.1,refcount_bits=32", "compat=1.1,refcount_bits=64", "size=2M", "size=1M",
    ];

    public static bool HasQemu => Qemu.IsInstalled;

    [Theory]
    [InlineData(9, false)]
    [InlineData(9, true)]
    [InlineData(12, true)]
    [InlineData(16, false)]
    [InlineData(16, true)]
    public void Content_survives_any_sequence_of_changes(int clusterBits, bool backed)
        => Gen.Select(Gen.Int, Gen.OneOfConst(Changes).Array[1, 6]).Sample(
            (seed, changes) => Loop.Run(() => RunAsync(clusterBits, backed, seed, changes)), iter: 20, threads: 1);

    [Fact(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    public void Snapshots_survive_a_downgrade_and_a_change_of_width()
    {
        using var directory = new TempDirectory();
        Qemu.Img("create", "-q", "-f", "raw", directory["base"], "4M");
        Qemu.Img("create", "-q", "-f", "qcow2", "-b", directory["base"], "-F", "raw", directory["a"]);
        Qemu.Io(directory["a"], "write -P 3 0 1M", "write -z 64k 128k", "write -z -u 512k 64k");
        Qemu.Img("snapshot", "-c", "one", directory["a"]);
        Qemu.Io(directory["a"], "write -z 0 64k", "write -P 5 900k 300k", "write -z 700k 64k");
        byte[] now = Qemu.ReadAll(directory, directory["a"]);
        byte[] before = Qemu.ReadAll(directory, directory["a"], "-l", "one");
        foreach (string change in (string[])["refcount_bits=2", "compat=0.10,refcount_bits=16", "compat=1.1,refcount_bits=64"])
        {
            Loop.Run(async () =>
            {
                BlockNode node = await new Ingot.Drivers.BlockGraph().OpenFileAsync(directory["a"], "qcow2", Ingot.Drivers.OpenFlags.ReadWrite);
                await ((Qcow2Node)node).AmendAsync(KeyValueText.Parse(change), force: false, progress: null);
                await node.CloseAsync();
            });
            Qemu.Check(directory["a"]);
            Assert.Equal(now, Qemu.ReadAll(directory, directory["a"]));
            Assert.Equal(before, Qemu.ReadAll(directory, directory["a"], "-l", "one"));
        }
    }

    [Theory]
    [InlineData("extended_l2=on", "compat=0.10", "Cannot downgrade an image with incompatible features 0x10 set")]
    [InlineData("compression_type=zstd", "compat=0.10", "Cannot downgrade an image with incompatible features 0x8 set")]
    [InlineData("data_file=x", "compat=0.10", "Cannot downgrade an image with a data file")]
    [InlineData("data_file=x", "data_file_raw=on", "data-file-raw cannot be set on existing images")]
    [InlineData("compat=0.10", "lazy_refcounts=on", "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)")]
    [InlineData("compat=1.1", "data_file=y", "data-file can only be set for images that use an external data file")]
    [InlineData("compat=1.1", "backing_file=y", "Cannot amend the backing file")]
    [InlineData("refcount_bits=8", "compat=0.10", "compat=0.10 requires refcount_bits=16")]
    [InlineData("compat=1.1", "compat=0.10,refcount_bits=8", "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)")]
    public void What_can_not_be_is_refused_and_changes_nothing(string creation, string change, string message) => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        string[] option = creation.Split('=');
        MemoryDisk? data = option[0] == "data_file" ? new MemoryDisk() : null;
        await Qcow2Fixture.CreateAsync(disk, Size, data, (option[0], option[1]));
        byte[] before = disk.Snapshot();
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, dataFile: data);
        string refusal = "";
        try
        {
            await node.AmendAsync(KeyValueText.Parse(change), force: false, progress: null);
        }
        catch (ErrnoException e)
        {
            refusal = e.Message;
        }

        Assert.StartsWith(message, refusal);
        await node.CloseAsync();
        Assert.Equal(before, disk.Snapshot());
    });

    private static async IoTask RunAsync(int clusterBits, bool backed, int seed, string[] changes)
    {
        var random = new Random(seed);
        byte[] expected = new byte[Size];
        MemoryDisk? backing = null;
        if (backed)
        {
            expected = Qcow2Fixture.Pattern(Size, seed);
            backing = new MemoryDisk(expected.ToArray());
        }

        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", $"{1 << clusterBits}"));
        foreach (string change in changes)
        {
            Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, backing);
            for (int i = 0; i < 12; i++)
            {
                await ScribbleAsync(node, expected, random);
            }

            OptionSet options = KeyValueText.Parse(change);
            int size = options.Peek("size") is { } text ? int.Parse(text[..1], null) << 20 : expected.Length;
            await node.AmendAsync(options, force: false, progress: null);
            await node.CloseAsync();
            Array.Resize(ref expected, size);
            Qcow2Node again = await Qcow2Fixture.OpenAsync(disk, backing);
            await Model.CheckAsync(again);
            Assert.Equal(expected, await Qcow2Fixture.ReadAsync(again, 0, expected.Length));
            await again.CloseAsync();
        }
    }

    private static async IoTask ScribbleAsync(Qcow2Node node, byte[] expected, Random random)
    {
        int offset = random.Next(expected.Length);
        int length = Math.Min(random.Next(1, 100_000), expected.Length - offset);
        byte[] bytes = new byte[length];
        if (random.Next(2) == 0)
        {
            await node.WriteZeroesAsync(offset, length, random.Next(2) == 0 ? ZeroFlags.None : ZeroFlags.MayUnmap);
        }
        else
        {
            random.NextBytes(bytes);
            await Qcow2Fixture.WriteAsync(node, offset, bytes);
        }

        bytes.CopyTo(expected, offset);
    }
}
