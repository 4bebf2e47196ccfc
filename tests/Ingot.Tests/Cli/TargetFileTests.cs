using Ingot.Cli;
using Ingot.Drivers;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>Which file a new image becomes: another of that name where nothing is lost by it, else the one that is there.</summary>
public sealed class TargetFileTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public TargetFileTests() => File.WriteAllBytes(_directory["source"], [.. Enumerable.Repeat((byte)7, 1024)]);

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_target_with_another_name_keeps_it(bool useDd)
    {
        File.WriteAllText(_directory["target"], "old");
        Assert.Equal(0, Libc.link(_directory["target"], _directory["alias"]));
        ulong inode = Libc.TryStat(_directory["alias"])!.Value.Inode;

        CliResult result = useDd
            ? CliRunner.Image("dd", "-f", "raw", $"if={_directory["source"]}", $"of={_directory["target"]}")
            : CliRunner.Image("convert", "-f", "raw", _directory["source"], _directory["target"]);

        Assert.Equal(new CliResult(0, "", ""), result);
        Assert.Equal(inode, Libc.TryStat(_directory["target"])!.Value.Inode);
        Assert.Equal(File.ReadAllBytes(_directory["source"]), File.ReadAllBytes(_directory["alias"]));
    }

    [Fact]
    public void A_target_is_locked_until_it_is_replaced() => Loop.Run(async () =>
    {
        File.WriteAllText(_directory["target"], "old");
        using NewFile file = await NewFile.PrepareAsync(new BlockGraph(), _directory["target"]);
        using (var other = new FileDescriptor(Libc.open(_directory["target"], Libc.O_RDWR | Libc.O_CLOEXEC, 0)))
        {
            Assert.Equal(Errno.EAGAIN, Assert.Throws<ErrnoException>(() => ImageLocks.Take(other, "target", ImagePermissions.Write, ImagePermissions.All)).Errno);
        }

        File.WriteAllText(file.Path, "new");
        file.Commit();
        Assert.Equal("new", File.ReadAllText(_directory["target"]));
    });

    [Fact]
    public void A_file_that_appears_meanwhile_is_not_replaced() => Loop.Run(async () =>
    {
        using NewFile file = await NewFile.PrepareAsync(new BlockGraph(), _directory["target"]);
        File.WriteAllText(file.Path, "ours");
        File.WriteAllText(_directory["target"], "theirs");
        Assert.Equal(Errno.EEXIST, Assert.Throws<ErrnoException>(file.Commit).Errno);
        Assert.Equal("theirs", File.ReadAllText(_directory["target"]));
    });

    [Fact]
    public void A_target_of_the_same_owner_with_one_name_is_replaced_by_a_complete_file()
    {
        File.WriteAllText(_directory["target"], "old");
        using FileStream open = File.OpenRead(_directory["target"]);
        Assert.Equal(0, CliRunner.Image("convert", "-f", "raw", _directory["source"], _directory["target"]).Status);
        Assert.Equal(3, open.Length);
        Assert.Equal(1024, new FileInfo(_directory["target"]).Length);
    }

    [Fact]
    public void A_target_that_cannot_be_replaced_is_named_as_the_user_did()
    {
        string target = _directory["target"] + "/";
        Directory.CreateDirectory(target);
        CliResult result = CliRunner.Image("convert", "-f", "raw", _directory["source"], target);
        Assert.Equal(1, result.Status);
        Assert.DoesNotContain(".part", result.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("json:{}", "Unknown protocol 'json'")]
    [InlineData("foo:x", "Unknown protocol 'foo'")]
    [InlineData(":x", "Unknown protocol ''")]
    [InlineData("null-co://", "Protocol driver 'null-co' does not support image creation")]
    public void A_protocol_that_makes_no_files_is_refused(string target, string problem)
    {
        Assert.Equal(new CliResult(1, "", $"qemu-img: {target}: {problem}\n"), CliRunner.Image("create", target, "1M"));
        Assert.Equal(new CliResult(1, "", $"qemu-img: {problem}\n"), CliRunner.Image("convert", "-f", "raw", _directory["source"], target));
        Assert.Equal(new CliResult(1, "", $"qemu-img: {problem}\n"), CliRunner.Image("dd", "-f", "raw", $"if={_directory["source"]}", $"of={target}"));
    }

    [Fact]
    public void A_device_by_its_protocol_must_be_there()
    {
        CliResult result = CliRunner.Image("create", "-q", $"host_device:{_directory["none"]}", "1M");
        Assert.Equal(1, result.Status);
        Assert.EndsWith($"existing image failed: Could not open '{_directory["none"]}': No such file or directory\n", result.Error, StringComparison.Ordinal);
    }
}
