using Ingot.Block;
using Xunit;

namespace Ingot.Tests.Block;

/// <summary>Sizes for people, as printf's "%0.3g" writes them.</summary>
public class SizeTextTests
{
    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(512, "512 B")]
    [InlineData(999, "999 B")]
    [InlineData(1000, "0.977 KiB")]
    [InlineData(1024, "1 KiB")]
    [InlineData(102912, "100 KiB")] // 100.5
    [InlineData(1015808, "992 KiB")]
    [InlineData(1023488, "1e+03 KiB")] // 999.5
    [InlineData(1024000, "0.977 MiB")]
    [InlineData(1311744, "1.25 MiB")]
    [InlineData(1L << 62, "4 EiB")]
    public void Three_digits_and_a_unit(long bytes, string text) => Assert.Equal(text, SizeText.ToHuman(bytes));
}
