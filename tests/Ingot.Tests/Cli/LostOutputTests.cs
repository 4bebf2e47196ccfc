using Ingot.Cli;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>What a command does to images does not depend on whether anybody can read what it prints.</summary>
public sealed class LostOutputTests : IDisposable
{
    private readonly TempDirectory _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void Acts_are_done_though_their_output_is_lost()
    {
        Assert.Equal(0, Run(new FullStream(), "create", "-f", "qcow2", _files["base"], "1M"));
        Assert.Equal(0, Run(null, "create", "-f", "qcow2", "-b", "base", "-F", "qcow2", _files["top"]));
        Assert.Equal(0, Run(new FullStream(), "resize", _files["top"], "2M"));
        Assert.Equal(0, Run(new FullStream(), "commit", "-p", _files["top"]));
        Assert.Equal(0, Run(new FullStream(), "amend", "-p", "-o", "compat=v3", _files["top"]));
        Assert.Equal(0, Run(new FullStream(), "convert", "-p", "-O", "qcow2", _files["top"], _files["copy"]));
        Assert.Equal(0, Run(new FullStream(), "rebase", "-p", "-b", "", _files["top"]));
        Assert.Contains("\"virtual-size\": 2097152", CliRunner.Image("info", "--output=json", _files["copy"]).Out, StringComparison.Ordinal);
        Assert.DoesNotContain("backing", CliRunner.Image("info", _files["top"]).Out, StringComparison.Ordinal);
    }

    [Fact]
    public void A_lost_result_is_an_error()
    {
        Run(null, "create", "-f", "qcow2", _files["image"], "1M");
        var error = new MemoryStream();
        CommandContext context = CommandContext.ForStreams("qemu-img", new FullStream(), error, isTerminal: false);
        Assert.Equal(1, Program.Dispatch(context, ["info", _files["image"]]));
        Assert.Equal("qemu-img: no room\n", System.Text.Encoding.UTF8.GetString(error.ToArray()));
    }

    [Fact]
    public void An_error_that_nobody_can_read_is_one_still()
    {
        Assert.Equal(1, Run(new MemoryStream(), "info", _files["nope"]));
        Assert.Equal(1, Run(new MemoryStream(), "bogus"));
        Assert.Equal(1, Run(new MemoryStream(), "info", "--bogus"));
    }

    private static int Run(Stream? output, params string[] words)
        => Program.Dispatch(CommandContext.ForStreams("qemu-img", output, new FullStream(), isTerminal: false), words);

    private sealed class FullStream : MemoryStream
    {
        public override void Write(ReadOnlySpan<byte> buffer) => throw new IOException("no room", (int)Errno.ENOSPC);
    }
}
