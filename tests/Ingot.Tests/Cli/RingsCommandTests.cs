using Ingot.Cli;
using Xunit;

namespace Ingot.Tests.Cli;

public sealed class RingsCommandTests
{
    [Theory]
    [InlineData("--design nonsense", "There is no ring design 'nonsense'")]
    [InlineData("--queue-size 100", "Queue size 100 is not a power of two from 2 to 32768")]
    [InlineData("--segments 129", "129 segments a request are not from 1 to 128")]
    [InlineData("--wakeup never", "--wakeup is 'polling' or 'eventfd', not 'never'")]
    public void What_bench_cannot_run_is_refused_with_its_value(string words, string message)
    {
        (int status, _, string error) = Run($"bench {words}");
        Assert.Equal(1, status);
        Assert.Contains(message, error, StringComparison.Ordinal);
    }

    [Fact]
    public void Bench_prints_json_for_the_baseline_and_every_design()
    {
        (int status, string output, _) = Run("bench --design split,nvme --requests 1000 --runs 2 --segments 1,2 --output json");
        Assert.Equal(0, status);
        using var json = System.Text.Json.JsonDocument.Parse(output);
        Assert.Equal(["none", "split", "nvme", "none", "split", "nvme"], json.RootElement.EnumerateArray().Select(r => r.GetProperty("design").GetString()));
        Assert.All(json.RootElement.EnumerateArray(), r => Assert.Equal(2, r.GetProperty("ns-per-request").GetProperty("runs").GetArrayLength()));
    }

    [Fact]
    public void Bench_writes_a_page_that_needs_nothing_else()
    {
        using var directory = new TempDirectory();
        string page = directory["rings.html"];
        (int status, _, _) = Run($"bench --design plain --requests 1000 --runs 1 --html {page}");
        Assert.Equal(0, status);
        string html = File.ReadAllText(page);
        Assert.Contains("<svg", html, StringComparison.Ordinal);
        Assert.DoesNotContain("src=", html, StringComparison.Ordinal);
    }

    private static (int Status, string Output, string Error) Run(string words)
    {
        var output = new StringWriter { NewLine = "\n" };
        var error = new StringWriter { NewLine = "\n" };
        int status = RingsTool.Run(new CommandContext("ingot rings", output, error), words.Split(' '));
        return (status, output.ToString(), error.ToString());
    }
}
