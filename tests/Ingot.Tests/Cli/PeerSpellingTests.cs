using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>Spellings that QEMU's tools take or refuse.</summary>
public sealed class PeerSpellingTests : IDisposable
{
    private const string NeedsDirect = "aio=native was specified, but it requires cache.direct=on, which was not specified.";
    private static readonly CliResult Success = new(0, "", "");
    private readonly TempDirectory _work = new();

    public PeerSpellingTests() => Assert.Equal(Success, CliRunner.Image("create", "-q", Raw, "64k"));

    private string Raw => _work["raw"];

    public void Dispose() => _work.Dispose();

    [Fact]
    public void Convert_takes_the_names_that_its_help_does_not_tell()
    {
        string image = _work["qcow2"];
        Assert.Equal(Success, CliRunner.Image("convert", "--output-format=qcow2", "--options=cluster_size=4k", "--output-cache=writeback", Raw, image));
        Assert.Equal(Success, CliRunner.Image("snapshot", "-c", "s", image));
        Assert.Equal(Success, CliRunner.Image("convert", "--snapshot=s", image, _work["copy"]));
        Assert.Equal(Success, CliRunner.Image("convert", "--source-image-opts", "file.filename=" + image, _work["copy"]));
        Assert.Contains("cluster_size: 4096", CliRunner.Image("info", image).Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Compare_has_two_names_for_each_format()
        => Assert.Equal(0, CliRunner.Image("compare", "--left-format=raw", "--right-format=raw", Raw, Raw).Status);

    [Fact]
    public void Map_takes_its_range_by_letters()
        => Assert.StartsWith("[{ \"start\": 4096, \"length\": 8192,", CliRunner.Image("map", "-s", "4k", "-l", "8k", "--output=json", "-f", "raw", Raw).Out);

    [Theory]
    [InlineData("-T", "x")]
    [InlineData("-Tx")]
    [InlineData("--trace", "x")]
    [InlineData("--trace=x", "-T", "y")]
    public void Trace_options_stand_before_the_command_and_have_no_effect(params string[] options)
        => Assert.Equal(CliRunner.Image("info", Raw), CliRunner.Image([.. options, "info", Raw]));

    [Fact]
    public void Trace_options_have_a_value()
        => Assert.Equal(new CliResult(1, "", "qemu-img: option '--trace' requires an argument\nTry 'qemu-img --help' for more info\n"), CliRunner.Image("--trace"));

    [Theory]
    [InlineData("")]
    [InlineData(",size=1M")]
    [InlineData("cluster_size=4k,")]
    public void A_list_of_options_has_no_empty_end(string list)
        => Assert.Equal(new CliResult(1, "", $"qemu-img: Invalid option list: {list}\n"), CliRunner.Image("create", "-f", "qcow2", "-o", list, _work["new"], "1M"));

    [Fact]
    public void Native_aio_needs_direct_access()
    {
        var refusal = new CliResult(1, "", $"qemu-img: Could not open '{Raw}': {NeedsDirect}\n");
        Assert.Equal(refusal, CliRunner.Image("bench", "-i", "native", "-f", "raw", Raw));
        Assert.Equal(refusal, CliRunner.Image("bench", "-n", "-f", "raw", Raw));
        Assert.Equal(new CliResult(1, "", $"qemu-io: can't open device {Raw}: {NeedsDirect}\n"), CliRunner.Run("qemu-io", "-i", "native", "-c", "read 0 512", "-f", "raw", Raw));
    }

    [Fact]
    public void Options_of_an_image_name_its_driver_or_its_file()
        => Assert.Equal(
            new CliResult(1, "", $"qemu-img: Could not open 'filename={Raw}': Must specify either driver or file\n"),
            CliRunner.Image("info", "--image-opts", "filename=" + Raw));

    [Fact]
    public void A_target_given_by_options_is_not_created()
        => Assert.Equal(
            new CliResult(1, "", "qemu-img: --target-image-opts requires use of -n flag\n"),
            CliRunner.Image("convert", "--target-image-opts", Raw, "driver=raw,file.filename=" + _work["new"]));

    [Fact]
    public void Character_devices_have_no_bytes()
    {
        CliResult result = CliRunner.Image("info", "/dev/null");
        Assert.Equal((0, ""), (result.Status, result.Error));
        Assert.Contains("virtual size: 0 B (0 bytes)\ndisk size: 0 B\n", result.Out, StringComparison.Ordinal);
        Assert.Contains("protocol type: host_device", result.Out, StringComparison.Ordinal);
    }
}
