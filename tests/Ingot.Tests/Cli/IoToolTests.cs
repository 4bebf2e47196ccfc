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
    public void Transfers_are_reported()
        => Assert.Matches(@"^wrote 3/3 bytes at offset 1\n3 bytes, 1 ops; \d\d\.\d\d sec \([0-9.]+ \w+/sec and [0-9.]+ ops/sec\)\n$", Run("write 1 3").Out);

    [Theory]
    [InlineData("read -q -P 6 0 4k", "Pattern verification failed at offset 0, 4096 bytes\n")]
    [InlineData("read 2M 4k", "read failed: Input/output error\n")]
    [InlineData("read x 4k", "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- x\n")]
    [InlineData("read 0", "bad argument count 1 to read, expected at least 2 arguments\n")]
    [InlineData("write -P 300 0 4k", "300 is not a valid pattern byte\n")]
    [InlineData("write -z -P 3 0 4k", "Only one of -z, -P, and -s can be specified at the same time\n")]
    [InlineData("nonsense", "command \"nonsense\" not found\n")]
    public void Failures_are_told_and_end_with_one(string command, string output) => Assert.Equal(new CliResult(1, output, ""), Run(command));

    private CliResult Run(params string[] commands) => CliRunner.Run("qemu-io", ["-f", "raw", .. commands.SelectMany(c => (string[])["-c", c]), _image]);
}
