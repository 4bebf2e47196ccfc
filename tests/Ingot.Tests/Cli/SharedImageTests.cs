using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>Commands on images that somebody else has open for writing.</summary>
public sealed class SharedImageTests : IDisposable
{
    private const string Refusal = "force-share=on can only be used with read-only images";
    private readonly TempDirectory _work = new();

    public SharedImageTests() => Assert.Equal(0, CliRunner.Image("create", "-q", "-f", "qcow2", _work["base"], "1M").Status);

    public void Dispose() => _work.Dispose();

    [Theory]
    [InlineData("bench", "-w", "-U", "-c", "1")]
    [InlineData("check", "-r", "all", "-U")]
    [InlineData("snapshot", "-U", "-c", "s")]
    public void No_command_writes_without_locks(params string[] words)
        => Assert.Equal(new CliResult(1, "", $"qemu-img: Could not open '{_work["base"]}': {Refusal}\n"), CliRunner.Image([.. words, _work["base"]]));

    [Fact]
    public void Nor_does_the_io_tool()
        => Assert.Equal(new CliResult(1, "", $"qemu-io: can't open device {_work["base"]}: {Refusal}\n"), CliRunner.Run("qemu-io", "-U", "-c", "write 0 1k", _work["base"]));

    [Theory]
    [InlineData("driver=qcow2,force-share=on,file.filename=")]
    [InlineData("driver=qcow2,file.force-share=on,file.filename=")]
    public void Nor_do_options(string options)
    {
        CliResult result = CliRunner.Image("bench", "-w", "-c", "1", "--image-opts", options + _work["base"]);
        Assert.Equal((1, ""), (result.Status, result.Out));
        Assert.EndsWith(Refusal + "\n", result.Error);
    }

    [Fact]
    public void Copies_are_written_under_locks_whatever_their_source_shares()
        => Assert.Equal(new CliResult(0, "", ""), CliRunner.Image("convert", "-U", _work["base"], _work["copy"]));

    [Fact]
    public void An_overlay_is_created_while_its_backing_file_is_in_use()
    {
        EventLoop.RunMain(async () =>
        {
            BlockNode user = await new BlockGraph().OpenFileAsync(_work["base"], "qcow2", OpenFlags.ReadWrite);
            CliResult info = await Offload.Run(() => CliRunner.Image("info", _work["base"]));
            Assert.Contains("Is another process using the image", info.Error, StringComparison.Ordinal);
            CliResult result = await Offload.Run(() => CliRunner.Image("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", _work["base"], _work["top"]));
            Assert.Equal(new CliResult(0, "", ""), result);
            await user.CloseAsync();
            return 0;
        });
        Assert.Contains("1 MiB (1048576 bytes)", CliRunner.Image("info", _work["top"]).Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Locks_are_held_by_a_file_that_no_ring_registers()
    {
        EventLoop.RunMain(async () =>
        {
            BlockNode node = await new BlockGraph().OpenFileAsync(_work["base"], "raw", OpenFlags.ReadWrite);
            string[] open = [.. Directory.GetFiles("/proc/self/fd").Where(fd => new FileInfo(fd).LinkTarget == _work["base"])];
            Assert.Equal(2, open.Length);
            Assert.Single(open, fd => File.ReadAllText(fd.Replace("/fd/", "/fdinfo/", StringComparison.Ordinal)).Contains("lock:", StringComparison.Ordinal));
            await node.CloseAsync();
            Assert.DoesNotContain(open, fd => new FileInfo(fd).LinkTarget == _work["base"]);
            return 0;
        });
    }

    [Fact]
    public void A_file_that_is_looked_at_twice_may_have_a_name()
    {
        CliResult result = CliRunner.Image("info", "--image-opts", $"file.node-name=f,file.filename={_work["base"]}");
        Assert.Equal((0, ""), (result.Status, result.Error));
    }

    [Fact]
    public void Facts_of_a_raw_image_are_told_while_it_is_in_use()
    {
        Assert.Equal(0, CliRunner.Image("create", "-q", _work["raw"], "1M").Status);
        EventLoop.RunMain(async () =>
        {
            BlockNode user = await new BlockGraph().OpenFileAsync(_work["raw"], "raw", OpenFlags.ReadWrite);
            foreach (string[] words in (string[][])[["info", "-f", "raw", _work["raw"]], ["info", _work["raw"]]])
            {
                CliResult info = await Offload.Run(() => CliRunner.Image(words));
                Assert.Equal((0, ""), (info.Status, info.Error));
                Assert.Contains("1 MiB (1048576 bytes)", info.Out, StringComparison.Ordinal);
            }

            await user.CloseAsync();
            return 0;
        });
    }

    [Fact]
    public void Bitmaps_need_no_backing_file()
    {
        string image = _work["top"];
        Assert.Equal(0, CliRunner.Image("create", "-q", "-f", "qcow2", "-u", "-F", "qcow2", "-b", "missing", image, "1M").Status);
        Assert.Equal(new CliResult(0, "", ""), CliRunner.Image("bitmap", "--add", "-g", "0", image, "a"));
        Assert.Equal(new CliResult(0, "", ""), CliRunner.Image("bitmap", "--add", "--merge", "a", "-b", image, "-F", "qcow2", _work["base"], "b"));
    }
}
