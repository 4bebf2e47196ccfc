using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>
/// Runs each command beside the installed qemu-img and compares output and exit status. QEMU 7.2 lacks what 8 and later print of child nodes
/// and compressed clusters, so that is left out of the comparison.
/// </summary>
public partial class PeerOutputTests(PeerImages images) : IClassFixture<PeerImages>
{
    private static readonly string[] Images = ["sparse.raw", "odd.raw", "v3.qcow2", "v2.qcow2", "compressed.qcow2", "top.qcow2", "empty.qcow2"];

    public static IEnumerable<TheoryDataRow<string>> EachImage => Images.Select(name => new TheoryDataRow<string>(name));

    public static IEnumerable<TheoryDataRow<string>> EachQcow2 => Images.Where(name => name.EndsWith("qcow2", StringComparison.Ordinal)).Select(name => new TheoryDataRow<string>(name));

    [Theory]
    [MemberData(nameof(EachImage))]
    public void Info(string name)
    {
        Same(WithoutChildren, "info", images.Path(name));
        Same(WithoutChildren, "info", "--backing-chain", images.Path(name));
        Same(JsonWithoutNews, "info", "--output=json", images.Path(name));
        Same(JsonWithoutNews, "info", "--backing-chain", "--output=json", images.Path(name));
    }

    [Theory]
    [MemberData(nameof(EachImage))]
    public void Map(string name)
    {
        Same(text => text, "map", images.Path(name));
        Same(JsonWithoutNews, "map", "--output=json", images.Path(name));
        Same(JsonWithoutNews, "map", "--output=json", "--start-offset=1k", "--max-length=100k", images.Path(name));
    }

    [Theory]
    [MemberData(nameof(EachImage))]
    public void Measure(string name)
    {
        Same(text => text, "measure", images.Path(name));
        Same(JsonWithoutNews, "measure", "--output=json", "-O", "qcow2", images.Path(name));
        Same(text => text, "measure", "-O", "qcow2", "-o", "cluster_size=4k", images.Path(name));
    }

    [Theory]
    [MemberData(nameof(EachQcow2))]
    public void Check(string name)
    {
        Same(text => text, "check", images.Path(name));
        Same(JsonWithoutNews, "check", "--output=json", images.Path(name));
    }

    [Theory]
    [MemberData(nameof(EachImage))]
    public void Compare(string name)
    {
        Same(text => text, "compare", images.Path("sparse.raw"), images.Path(name));
        Same(text => text, "compare", images.Path("top.qcow2"), images.Path(name));
    }

    [Theory]
    [MemberData(nameof(EachImage))]
    public void Converted_images_read_the_same_and_are_clean(string name)
    {
        Assert.SkipUnless(PeerImages.IsAvailable, "qemu-img and qemu-io are not installed");
        foreach (string options in (ReadOnlySpan<string>)["-c", "-W", "-S0", "-m1"])
        {
            string target = images.Path($"converted-{name}-{options}.qcow2");
            Assert.Equal(new CliResult(0, "", ""), CliRunner.Image("convert", options, "-O", "qcow2", images.Path(name), target));
            Assert.Equal(0, images.QemuImg("check", target).Status);
            Assert.Equal("Images are identical.\n", images.QemuImg("compare", images.Path(name), target).Out);
        }

        string raw = images.Path($"converted-{name}.raw");
        Assert.Equal(new CliResult(0, "", ""), CliRunner.Image("convert", images.Path(name), raw));
        Assert.Equal("Images are identical.\n", images.QemuImg("compare", images.Path(name), raw).Out);
    }

    [Theory]
    [InlineData("info", "no-such-file")]
    [InlineData("info", "-f", "vdi2", "sparse.raw")]
    [InlineData("map", "no-such-file")]
    [InlineData("check", "sparse.raw")]
    [InlineData("compare", "sparse.raw", "no-such-file")]
    [InlineData("convert", "no-such-file", "target.raw")]
    [InlineData("convert", "sparse.raw", "no-such-directory/target.raw")]
    [InlineData("convert", "-c", "sparse.raw", "target.raw")]
    [InlineData("create", "-f", "qcow2", "target.qcow2")]
    [InlineData("create", "-f", "nonsense", "target", "1M")]
    [InlineData("create", "-f", "qcow2", "-o", "nonsense=1", "target", "1M")]
    [InlineData("create", "-f", "qcow2", "-o", "cluster_size=3", "target", "1M")]
    [InlineData("resize", "-f", "raw", "no-such-file", "1M")]
    public void Errors(params string[] words) => Same(text => text, [words[0], .. words.Skip(1).Select(ToPath)]);

    [Fact]
    public void A_failed_conversion_leaves_nothing_behind()
    {
        Assert.SkipUnless(PeerImages.IsAvailable, "qemu-img and qemu-io are not installed");
        DirectoryInfo directory = Directory.CreateDirectory(images.Path("failed"));
        string target = Path.Combine(directory.FullName, "target.qcow2");
        CliResult result = CliRunner.Image("convert", "-O", "qcow2", BrokenImage(), target);
        Assert.Equal(1, result.Status);
        Assert.Empty(directory.GetFiles("*", new EnumerationOptions { AttributesToSkip = FileAttributes.None }));
    }

    [Fact]
    public void An_older_target_lives_until_the_new_one_is_complete()
    {
        Assert.SkipUnless(PeerImages.IsAvailable, "qemu-img and qemu-io are not installed");
        string target = images.Path("older.qcow2");
        File.WriteAllText(target, "older");
        Assert.Equal(1, CliRunner.Image("convert", "-O", "qcow2", BrokenImage(), target).Status);
        Assert.Equal("older", File.ReadAllText(target));
    }

    // Compressed clusters that can't be unpacked.
    private string BrokenImage()
    {
        const int Tables = 5 << 16;
        byte[] bytes = File.ReadAllBytes(images.Path("compressed.qcow2"));
        bytes.AsSpan(Tables).Fill(0xff);
        string broken = images.Path("broken.qcow2");
        File.WriteAllBytes(broken, bytes);
        return broken;
    }

    // The head of the snapshot list has other widths in 7.2.
    private static string WithoutChildren(string text) => SnapshotHead().Replace(ChildNodes().Replace(text, ""), "ID");

    private static string JsonWithoutNews(string text) => text.Length > 0 ? WithoutNews(JsonNode.Parse(text))!.ToJsonString() : text;

    // Key order is compared too: it is what people see.
    private static JsonNode? WithoutNews(JsonNode? node)
    {
        switch (node)
        {
            case JsonArray array:
                return new JsonArray([.. array.Select(item => WithoutNews(item?.DeepClone()))]);
            case JsonObject members:
                return new JsonObject(members.Where(m => m.Key is not ("children" or "compressed")).Select(m => KeyValuePair.Create(m.Key, WithoutNews(m.Value?.DeepClone()))));
            default:
                return node?.DeepClone();
        }
    }

    // The details of a child are indented, and end with it.
    [GeneratedRegex(@"^Child node '.*':\n(    .*\n)*", RegexOptions.Multiline)]
    private static partial Regex ChildNodes();

    [GeneratedRegex("^ID .*$|^1 .*$", RegexOptions.Multiline)]
    private static partial Regex SnapshotHead();

    private string ToPath(string word) => word.StartsWith('-') || word.Contains('=') || word is "1M" or "qcow2" or "raw" or "nonsense" or "vdi2" ? word : images.Path(word);

    private void Same(Func<string, string> normalize, params string[] words)
    {
        Assert.SkipUnless(PeerImages.IsAvailable, "qemu-img and qemu-io are not installed");
        CliResult theirs = images.QemuImg(words);
        CliResult ours = CliRunner.Image(words);
        Assert.Equal(normalize(theirs.Out), normalize(ours.Out));
        Assert.Equal(theirs.Error, ours.Error);
        Assert.Equal(theirs.Status, ours.Status);
    }
}
