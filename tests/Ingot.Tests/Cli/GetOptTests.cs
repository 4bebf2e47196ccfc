using Ingot.Cli;
using Xunit;

namespace Ingot.Tests.Cli;

public class GetOptTests
{
    private static readonly Option[] Table =
    [
        Option.Switch('q', "quiet", ""),
        Option.Switch('p', "progress", ""),
        Option.Value('f', "format", "FMT", ""),
        Option.Value('o', "options", "OPTS", ""),
        Option.Switch('\0', "image-opts", ""),
        Option.Value('\0', "image-size", "N", ""),
    ];

    [Fact]
    public void Letters_cluster_and_take_values_joined_or_apart()
    {
        Arguments a = GetOpt.Parse(Table, ["-qpfraw", "-o", "a=1", "disk", "-ob=2"]);
        Assert.True(a.Has("quiet") && a.Has("progress"));
        Assert.Equal("raw", a.Last("format"));
        Assert.Equal(["a=1", "b=2"], a.All("options"));
        Assert.Equal(["disk"], a.Operands);
    }

    [Fact]
    public void Long_names_take_values_joined_or_apart_and_may_be_shortened()
    {
        Arguments a = GetOpt.Parse(Table, ["--format=raw", "--opt", "x", "--image-o"]);
        Assert.Equal("raw", a.Last("format"));
        Assert.Equal("x", a.Last("options"));
        Assert.True(a.Has("image-opts"));
    }

    [Fact]
    public void Two_dashes_end_the_options()
        => Assert.Equal(["a", "-q", "--format"], GetOpt.Parse(Table, ["a", "--", "-q", "--format"]).Operands);

    [Fact]
    public void A_single_dash_is_an_operand() => Assert.Equal(["-"], GetOpt.Parse(Table, ["-"]).Operands);

    [Fact]
    public void The_order_of_options_is_kept()
        => Assert.Equal(["format", "quiet", "format"], GetOpt.Parse(Table, ["-f", "a", "-q", "--format", "b"]).Options.Select(o => o.Name));

    [Theory]
    [InlineData("-Z", "invalid option -- 'Z'")]
    [InlineData("-qZ", "invalid option -- 'Z'")]
    [InlineData("--foo", "unrecognized option '--foo'")]
    [InlineData("-f", "option requires an argument -- 'f'")]
    [InlineData("--format", "option '--format' requires an argument")]
    [InlineData("--quiet=1", "option '--quiet' doesn't allow an argument")]
    [InlineData("--image", "option '--image' is ambiguous; possibilities: '--image-opts' '--image-size'")]
    public void Errors_have_the_words_of_getopt(string word, string message)
        => Assert.Equal(message, Assert.Throws<GetOptException>(() => GetOpt.Parse(Table, [word])).Message);
}
