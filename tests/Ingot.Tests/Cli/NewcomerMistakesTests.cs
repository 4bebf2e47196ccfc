using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>What people get wrong at first, and whether the message says which word it was.</summary>
public sealed class NewcomerMistakesTests
{
    [Theory]
    [InlineData("--blockdev", "driver=file,node-name=x", "Parameter 'filename' is missing")]
    [InlineData("--blockdev", "driver=null-co,node-name=1x", "Invalid node-name: '1x'")]
    [InlineData("--blockdev", "{\"driver\":", "Could not parse the JSON options: invalid JSON in line 1 at byte 11")]
    [InlineData("--export", "type=vhost-user-blk,id=e,node-name=none,addr.type=unix,addr.path=s", "Cannot find device='' nor node-name='none'")]
    [InlineData("--object", "iothread", "Parameter 'id' is missing")]
    public void The_daemon_names_the_option_that_is_wrong(string option, string value, string problem)
    {
        CliResult result = CliRunner.Run("qemu-storage-daemon", "--blockdev", "driver=null-co,node-name=right", option, value);
        Assert.Equal(new CliResult(1, "", $"qemu-storage-daemon: {option} {value}: {problem}\n"), result);
    }

    [Fact]
    public void A_read_only_image_is_refused_before_the_first_write()
    {
        const string Image = "driver=null-co,size=1M,read-only=on";
        Assert.Equal(
            new CliResult(1, "", $"qemu-img: Could not open '{Image}': Block node is read-only\n"),
            CliRunner.Image("bench", "-w", "--image-opts", Image));
    }
}
