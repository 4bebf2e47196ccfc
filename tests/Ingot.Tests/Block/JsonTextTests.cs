using Ingot.Block;
using Xunit;

namespace Ingot.Tests.Block;

/// <summary>JSON as QEMU takes it: also with strings in single quotes.</summary>
public sealed class JsonTextTests
{
    [Theory]
    [InlineData("""{"driver":"raw"}""", "raw")]
    [InlineData("""{'driver':'raw'}""", "raw")]
    [InlineData("""{'driver':"it's"}""", "it's")]
    [InlineData("""{"driver":'say "no"'}""", "say \"no\"")]
    [InlineData("""{'driver':'it\'s'}""", "it's")]
    [InlineData("""{"driver":"a\"b'c"}""", "a\"b'c")]
    public void Strings(string json, string driver) => Assert.Equal(driver, JsonText.Parse(json, "test").TakeString("driver"));

    [Theory]
    [InlineData("{'driver':'raw}")]
    [InlineData("{'driver':'raw\"}")]
    [InlineData("{driver:'raw'}")]
    public void WrongQuotes_AreRefused(string json) => Assert.Throws<OptionException>(() => JsonText.Parse(json, "test"));

    [Theory]
    [InlineData("""{"driver":"\udc80"}""")]
    [InlineData("""{"\ud800":"raw"}""")]
    public void HalfCharacters_AreRefused(string json) => Assert.Throws<OptionException>(() => JsonText.Parse(json, "test"));
}
