using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>Names that are empty, or of something that is no readable file: the message is the kernel's, whichever option the name came from.</summary>
public sealed class UnusableFilesTests : IDisposable
{
    private readonly TempDirectory _files = new();

    public UnusableFilesTests() => CliRunner.Image("create", "-f", "qcow2", _files["image"], "1M");

    public void Dispose() => _files.Dispose();

    [Fact]
    public void A_target_without_a_name_is_refused()
    {
        Assert.Equal(
            new CliResult(1, "", "qemu-img: : error while converting raw: Could not create '': No such file or directory\n"),
            CliRunner.Image("convert", _files["image"], ""));
        Assert.Equal(
            new CliResult(1, "", "qemu-img: : error while converting qcow2: Could not create '': No such file or directory\n"),
            CliRunner.Image("convert", "-O", "qcow2", _files["image"], ""));
        Assert.Equal(
            new CliResult(1, "", "qemu-img: : error while creating output image: Could not create '': No such file or directory\n"),
            CliRunner.Image("dd", $"if={_files["image"]}", "of="));
    }

    [Fact]
    public void An_untrusted_image_without_a_name_is_refused() => Assert.Equal(1, CliRunner.Image("info", "--untrusted", "-f", "raw", "").Status);

    [Theory]
    [InlineData("", "Failed to open file “”: No such file or directory")]
    [InlineData("/", "Error reading file “/”: Is a directory")]
    [InlineData("/dev/null/x", "Failed to open file “/dev/null/x”: Not a directory")]
    public void A_secret_file_that_cant_be_read_says_why(string name, string why)
        => Assert.Equal(
            new CliResult(1, "", $"qemu-img: Unable to read {name}: {why}\n"),
            CliRunner.Image("info", "--object", $"secret,id=s,file={name}", _files["image"]));

    [Theory]
    [InlineData("/", "/: Is a directory")]
    [InlineData("/no/such", "/no/such: No such file or directory")]
    [InlineData("/dev/null", "/dev/null: file is empty")]
    public void A_pattern_file_that_cant_be_read_is_told_on_standard_error(string name, string why)
        => Assert.Equal(new CliResult(1, "", $"{why}\n"), CliRunner.Run("qemu-io", "-c", $"write -s {name} 0 4k", _files["image"]));

    [Fact]
    public void A_pattern_file_is_read_no_further_than_needed()
        => Assert.Equal(0, CliRunner.Run("qemu-io", "-c", "write -s /dev/zero 0 4k", "-c", "read -P 0 0 4k", _files["image"]).Status);

    [Theory]
    [InlineData("/no/such", "Could not read blkdebug config file: No such file or directory")]
    [InlineData("/", "Cannot read config file: Is a directory")]
    public void A_rule_file_that_cant_be_read_says_why(string name, string why)
    {
        string image = $"blkdebug:{name}:{_files["image"]}";
        Assert.Equal(new CliResult(1, "", $"qemu-img: Could not open '{image}': {why}\n"), CliRunner.Image("info", image));
    }

    [Theory]
    [InlineData("json:{\"driver\":\"qcow2\",\"file\":\"none\"}", "Cannot find device='none' nor node-name='none'")]
    [InlineData("", "Must specify either driver or file", "--image-opts")]
    public void A_reference_to_nothing_is_named(string image, string why, params string[] options)
        => Assert.Equal(new CliResult(1, "", $"qemu-img: Could not open '{image}': {why}\n"), CliRunner.Image(["info", .. options, image]));
}
