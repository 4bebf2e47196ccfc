using Ingot.Tests.Cli;
using Xunit;

namespace Ingot.Tests.Drivers.Filters;

/// <summary>What is read through a chain of images and where it is afterwards, seen through the tools.</summary>
public sealed class CopyOnReadTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public CopyOnReadTests()
    {
        Image("create", "-q", "-f", "qcow2", _directory["base"], "1M");
        Io("-c", "write -q -P 5 0 128k", _directory["base"]);
        Image("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", _directory["mid"]);
        Io("-c", "write -q -P 6 512k 64k", _directory["mid"]);
        Image("create", "-q", "-f", "qcow2", "-b", "mid", "-F", "qcow2", _directory["top"]);
    }

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void Whole_clusters_are_copied_and_nothing_twice()
    {
        Assert.Equal("", Io("-C", "-c", "read -q -P 5 1k 100k", "-c", "read -q -P 0 256k 512", "-c", "write -q -P 7 0 512", "-c", "read -q -P 7 0 512", _directory["top"]).Out);
        Assert.Equal([(0L, 128 << 10), (256 << 10, 64 << 10)], Allocated());
    }

    [Fact]
    public void Only_what_comes_from_above_the_bottom_is_copied()
    {
        string options = $"driver=copy-on-read,file.driver=qcow2,file.file.filename={_directory["top"]},"
            + $"file.backing.node-name=m,file.backing.driver=qcow2,file.backing.file.filename={_directory["mid"]},bottom=m";
        Assert.Equal("", Io("--image-opts", "-c", "read -q 0 1M", options).Out);
        Assert.Equal([(512L << 10, 64 << 10)], Allocated());
    }

    [Fact]
    public void Subclusters_are_copied_one_by_one()
    {
        Image("create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "-b", "base", "-F", "qcow2", _directory["top"]);
        Assert.Equal("", Io("-C", "-c", "read -q -P 5 3k 2k", _directory["top"]).Out);
        Assert.Equal([(2L << 10, 4 << 10)], Allocated());
    }

    [Fact]
    public void Read_only_images_are_refused()
    {
        string top = _directory["top"];
        Assert.Equal($"qemu-io: can't open device {top}: Can't use copy-on-read on read-only device\n", Io("-C", "-r", "-c", "read 0 512", top).Error);
        Assert.Equal("qemu-io: can't open: Block node is read-only\n", Io("-r", "--image-opts", "-c", "length", $"driver=copy-on-read,file.driver=qcow2,file.file.filename={top}").Error);
    }

    private static CliResult Image(params string[] words) => CliRunner.Run("qemu-img", words);

    private static CliResult Io(params string[] words) => CliRunner.Run("qemu-io", words);

    private (long Offset, int Length)[] Allocated()
    {
        Image("rebase", "-u", "-b", "", "-f", "qcow2", _directory["top"]);
        using var map = System.Text.Json.JsonDocument.Parse(Image("map", "--output=json", _directory["top"]).Out);
        return [.. map.RootElement.EnumerateArray().Where(e => e.GetProperty("present").GetBoolean()).Select(e => (e.GetProperty("start").GetInt64(), e.GetProperty("length").GetInt32()))];
    }
}
