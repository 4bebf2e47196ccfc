using System.Text;
using Ingot.Cli;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Cli;

public sealed class IoToolTests : IDisposable
{
    private readonly string _image = Path.GetTempFileName();

    public IoToolTests() => File.WriteAllBytes(_image, new byte[1 << 20]);

    public void Dispose() => File.Delete(_image);

    [Fact]
    public void What_was_written_is_read()
    {
        CliResult result = Run("write -q -P 5 4k 8k", "read -q -P 5 4k 8k", "write -q -z 4k 4k", "read -q -P 0 4k 4k", "length");
        Assert.Equal(new CliResult(0, "1 MiB\n", ""), result);
        Assert.Equal(5, File.ReadAllBytes(_image)[9000]);
    }

    [Fact]
    public void Commands_from_standard_input_keep_names_that_are_not_text()
    {
        byte[] line = [.. "open x"u8, 0xff, 0xc3, 0xa9, (byte)'\n'];
        using var input = new StreamReader(new MemoryStream(line), Encoding.Latin1, false);
        Assert.Equal(line[..^1], NativeText.Encode(IoTool.ReadLine(input)!));
        Assert.Null(IoTool.ReadLine(input));
    }

    [Fact]
    public void Transfers_are_reported()
        => Assert.Matches(@"^wrote 3/3 bytes at offset 1\n3 bytes, 1 ops; \d\d\.\d\d sec \([0-9.]+ \w+/sec and [0-9.]+ ops/sec\)\n$", Run("write 1 3").Out);

    [Theory]
    [InlineData("read -q -P 6 0 4k", "Pattern verification failed at offset 0, 4096 bytes\n")]
    [InlineData("read 2M 4k", "read failed: Input/output error\n")]
    [InlineData("read x 4k", "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- x\n")]
    [InlineData("readv 0 x", "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- x\n")]
    [InlineData("write 0 17E", "Parsing error: argument too large -- 17E\n")]
    [InlineData("read -P 0 -s 1k -l 4k 0 4k", "pattern verification range exceeds end of read data\n")]
    [InlineData("write -n 0 4k", "-n requires -z to be specified\n")]
    [InlineData("write -b 0 4k", "write failed: Operation not supported\n")]
    [InlineData("break cow_write A", "Could not set breakpoint: Operation not supported\n")]
    [InlineData("read 0 1 2", "read [-abCqrv] [-P pattern [-s off] [-l len]] off len -- reads a number of bytes at a specified offset\n")]
    [InlineData("write -P 300 0 4k", "300 is not a valid pattern byte\n")]
    [InlineData("write -z -P 3 0 4k", "Only one of -z, -P, and -s can be specified at the same time\n")]
    public void Failures_are_told_and_end_with_one(string command, string output) => Assert.Equal(new CliResult(1, output, ""), Run(command));

    [Theory]
    [InlineData("read 0", "bad argument count 1 to read, expected at least 2 arguments\n")]
    [InlineData("sleep 1 2", "bad argument count 2 to sleep, expected 1 arguments\n")]
    [InlineData("nonsense", "command \"nonsense\" not found\n")]
    [InlineData("open x", "qemu-io: file open already, try 'help close'\n")]
    [InlineData("truncate -m some 1M", "qemu-io: Invalid preallocation mode 'some'\n")]
    public void Errors_of_the_tool_go_to_standard_error(string command, string error) => Assert.Equal(new CliResult(1, "", error), Run(command));

    [Fact]
    public void Bytes_are_dumped()
        => Assert.StartsWith("00001000:  41 41 41  AAA\nread 3/3 bytes at offset 4096\n", Run("write -q -P 0x41 4k 4k", "read -v 4k 3").Out);

    [Fact]
    public void Requests_that_nobody_waits_for_are_done_at_the_end()
    {
        CliResult result = Run("aio_write -P 7 0 64k", "aio_read -P 7 0 4k", "aio_flush", "read -q -P 7 0 64k");
        Assert.Equal((0, 2), (result.Status, result.Out.Split('\n').Count(line => line.Contains("bytes at offset"))));
    }

    [Fact]
    public void Allocation_is_shown()
        => Assert.Equal("1048576/1048576 bytes allocated at offset 0 bytes\n1 MiB (0x100000) bytes     allocated at offset 0 bytes (0x0)\n", Run("alloc 0 1M", "map").Out);

    [Fact]
    public void Reopening_changes_what_is_named_only()
    {
        CliResult result = Run("reopen -r", "write 0 4k", "reopen -w", "write -q 0 4k");
        Assert.Equal(new CliResult(1, "", "qemu-io: Block node is read-only\n"), result);
    }

    [Fact]
    public void Failed_reopening_leaves_the_image_open()
    {
        CliResult result = Run("reopen -o nonsense=1", "length");
        Assert.Equal("1 MiB\n", result.Out);
        Assert.Contains("nonsense", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Options_go_before_those_of_a_json_name()
        => Assert.Equal("1 MiB\n", Run("close", $"open -o driver=raw json:{{'driver':'qcow2','file.filename':'{_image}'}}", "length").Out);

    [Theory]
    [InlineData("driver=qcow2", "driver")]
    [InlineData("file.filename=other", "filename")]
    public void Reopening_does_not_change_the_image(string option, string name)
        => Assert.Equal(new CliResult(1, "1 MiB\n", $"qemu-io: Cannot change the option '{name}'\n"), Run($"reopen -o {option}", "length"));

    [Fact]
    public void Json_name_and_options_are_taken_together()
        => Assert.Equal("1 MiB\n", Run("close", $"open -o driver=raw json:{{'file.filename':'{_image}'}}", "length").Out);

    [Fact]
    public void Closed_image_can_be_opened_again()
        => Assert.Equal(new CliResult(1, "1 MiB\n", "no file open, try 'help open'\n"), Run("close", "length", $"open -o driver=raw {_image}", "length"));

    [Fact]
    public void Snapshot_keeps_the_image()
    {
        Assert.Equal(0, CliRunner.Run("qemu-io", "-f", "raw", "-s", "-c", "write -q 0 4k", "-c", "read -q -P 0xcd 0 4k", _image).Status);
        Assert.Equal(0, File.ReadAllBytes(_image)[0]);
    }

    private CliResult Run(params string[] commands) => CliRunner.Run("qemu-io", ["-f", "raw", .. commands.SelectMany(c => (string[])["-c", c]), _image]);
}
