using Ingot.Tests.Cli;
using Xunit;

namespace Ingot.Tests.Drivers.BlkDebug;

/// <summary>What rules do to requests, seen through the io tool.</summary>
public sealed class BlkDebugTests : IDisposable
{
    private readonly string _image = Path.GetTempFileName();
    private readonly string _config = Path.GetTempFileName();

    public BlkDebugTests() => File.WriteAllBytes(_image, new byte[1 << 20]);

    public void Dispose()
    {
        File.Delete(_image);
        File.Delete(_config);
    }

    [Fact]
    public void A_sector_fails_for_requests_of_one_kind()
    {
        CliResult result = RunOptions("inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.sector=3,inject-error.0.errno=28", "read -q 0 1k", "read -q 1k 1k", "write -q 0 4k");
        Assert.Equal("read failed: No space left on device\n", result.Out);
    }

    [Fact]
    public void An_error_that_comes_once_comes_once()
        => Assert.Equal("write failed: Input/output error\n", RunOptions("inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.once=on", "write -q 0 512", "write -q 0 512").Out);

    [Fact]
    public void Rules_wait_for_their_state()
        => Assert.Equal(
            "write failed: Input/output error\n",
            RunRaw($"driver=blkdebug,image.filename={_image},set-state.0.event=write_aio,set-state.0.new_state=2,inject-error.0.event=write_aio,inject-error.0.state=2", "write -q 0 512", "write -q 0 512").Out);

    [Fact]
    public void Rules_come_from_a_file()
    {
        File.WriteAllText(_config, "# a comment\n[inject-error]\nevent = \"read_aio\"\nerrno = \"5\"\nonce = \"off\"\n");
        CliResult result = CliRunner.Run("qemu-io", ["-f", "raw", "-c", "write -q 0 512", "-c", "read -q 0 512", $"blkdebug:{_config}:{_image}"]);
        Assert.Equal("read failed: Input/output error\n", result.Out);
    }

    [Fact]
    public void Tables_of_qcow2_signal_what_is_done_with_them()
    {
        CliRunner.Run("qemu-img", ["create", "-q", "-f", "qcow2", _image, "1M"]);
        CliRunner.Run("qemu-io", ["-f", "qcow2", "-c", "write -q 0 64k", _image]);
        CliResult result = CliRunner.Run(
            "qemu-io", ["--image-opts", "-c", "read -q 0 512", "-c", "read -q 0 512", $"driver=qcow2,file.driver=blkdebug,file.image.filename={_image},file.inject-error.0.event=l2_load,file.inject-error.0.once=on"]);
        Assert.Equal("read failed: Input/output error\n", result.Out);
    }

    [Fact]
    public void Partial_blocks_are_read_changed_and_written()
    {
        Assert.Equal("", RunOptions("align=4k", "write -q -P 1 0 16k", "write -q -P 2 4095 4098", "read -q -P 2 4095 4098", "write -q -z 5000 100", "read -q -P 1 8193 511").Out);
        byte[] bytes = File.ReadAllBytes(_image);
        Assert.Equal([1, 2, 2, 0, 0, 2, 2, 1], new[] { 4094, 4095, 4999, 5000, 5099, 5100, 8192, 8193 }.Select(i => bytes[i]));
    }

    [Fact]
    public void A_write_of_a_part_of_a_block_keeps_others_from_it()
    {
        CliResult result = RunOptions(
            "align=4k",
            "break pwritev_rmw_after_tail A", "aio_write -q -P 10 0 512", "wait_break A", "aio_write -q -P 11 2k 4k",
            "break pwritev_rmw_after_head B", "aio_write -q -P 12 7680 512", "wait_break B", "resume A", "resume B", "aio_flush",
            "read -q -P 10 0 512", "read -q -P 0 512 1536", "read -q -P 11 2k 4k", "read -q -P 0 6k 1536", "read -q -P 12 7680 512");
        Assert.Equal("AABB", string.Concat(result.Out.Split('\'').Where((_, i) => i % 2 == 1).Order()));
        Assert.DoesNotContain("failed", result.Out);
    }

    [Theory]
    [InlineData("pwritev_rmw_head", "write -q 1k 512", "write -q 0 4k")]
    [InlineData("pwritev_rmw_tail", "write -q 0 512", "write -q 0 4k")]
    [InlineData("pwritev_zero", "write -q -z 0 4k", "write -q -z 1k 512")]
    [InlineData("pwritev", "write -q 0 4k", "write -q -z 0 4k")]
    public void Writes_of_blocks_have_events(string name, string hit, string missed)
        => Assert.Equal("write failed: Input/output error\n", RunOptions($"align=4k,inject-error.0.event={name},inject-error.0.once=on", missed, hit, hit).Out);

    [Fact]
    public void A_request_is_held_until_it_is_resumed()
    {
        CliResult result = RunRaw(
            $"driver=blkdebug,image.filename={_image}", "break write_aio A", "aio_write -q -P 3 0 512", "wait_break A", "read -q -P 0 0 512", "resume A", "aio_flush", "read -q -P 3 0 512", "resume A", "break nothing B");
        Assert.Equal("blkdebug: Suspended request 'A'\nblkdebug: Resuming request 'A'\nCould not resume request: No such file or directory\nCould not set breakpoint: Invalid argument\n", result.Out);
    }

    [Fact]
    public void Comparison_names_the_image_that_could_not_be_read()
    {
        File.WriteAllText(_config, "[inject-error]\nevent = \"none\"\niotype = \"read\"\nonce = \"off\"\n");
        string name = $"blkdebug:{_config}:{_image}";
        CliRunner.Run("qemu-io", ["-f", "raw", "-c", "write -q 0 4k", _image]);
        CliResult result = CliRunner.Run("qemu-img", ["compare", "-f", "raw", "-F", "raw", _image, name]);
        Assert.Equal(new CliResult(4, "", $"qemu-img: Error while reading offset 0 of {name}: Input/output error\n"), result);
    }

    [Theory]
    [InlineData("align=3", "Cannot meet constraints with align 3")]
    [InlineData("inject-error.0.event=foo", "Invalid event name \"foo\"")]
    [InlineData("set-state.0.event=none", "Parameter 'new_state' is missing")]
    public void Bad_options_are_named(string options, string message) => Assert.Equal($"qemu-io: can't open: {message}\n", RunOptions(options, "length").Error);

    private CliResult RunOptions(string options, params string[] commands) => Run($"driver=blkdebug,image.driver=file,image.filename={_image},{options}", commands);

    private static CliResult RunRaw(string file, params string[] commands) => Run(string.Join(',', file.Split(',').Select(o => "file." + o).Prepend("driver=raw")), commands);

    private static CliResult Run(string options, string[] commands) => CliRunner.Run("qemu-io", ["--image-opts", .. commands.SelectMany(c => (string[])["-c", c]), options]);
}
