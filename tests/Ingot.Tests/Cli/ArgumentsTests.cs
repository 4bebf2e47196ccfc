using Ingot.Cli;
using Xunit;

namespace Ingot.Tests.Cli;

public sealed class ArgumentsTests
{
    [Theory]
    [InlineData("12", 12)]
    [InlineData(" +12", 12)]
    [InlineData("0x1F", 31)]
    [InlineData("010", 8)]
    [InlineData("0", 0)]
    [InlineData("9223372036854775807", long.MaxValue)]
    public void Numbers_are_read_as_strtol_reads_them(string text, long value) => Assert.Equal(value, Arguments.ParseNumber(text, "count"));

    [Theory]
    [InlineData("1k", "Invalid count specified: '1k'.")]
    [InlineData("1.5", "Invalid count specified: '1.5'.")]
    [InlineData("", "Invalid count specified: ''.")]
    [InlineData("08", "Invalid count specified: '08'.")]
    [InlineData("0x", "Invalid count specified: '0x'.")]
    [InlineData("-1", "Invalid count specified. Must be between 0 and 9223372036854775807.")]
    [InlineData("9223372036854775808", "Invalid count specified. Must be between 0 and 9223372036854775807.")]
    [InlineData("99999999999999999999999999999999999999999999", "Invalid count specified. Must be between 0 and 9223372036854775807.")]
    public void What_is_no_such_number_is_refused(string text, string message)
        => Assert.Equal(message, Assert.Throws<UsageException>(() => Arguments.ParseNumber(text, "count")).Message);
}
