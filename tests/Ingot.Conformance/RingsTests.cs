using Xunit;

namespace Ingot.Conformance;

/// <summary>The ring lab as users run it.</summary>
public class RingsTests
{
    [Theory]
    [InlineData("polling", "in-order")]
    [InlineData("eventfd", "reversed")]
    public async Task Two_processes_agree_on_every_field_of_every_request(string wakeup, string order)
    {
        string[] words = ["rings", "bench", "--processes", "--requests", "20k", "--runs", "1", "--segments", "1,3", "--queues", "2", "--wakeup", wakeup, "--order", order, "--output", "json"];
        Outcome outcome = await Command.Ingot(words);
        Assert.True(outcome.Status == 0, outcome.Error);
        using var json = System.Text.Json.JsonDocument.Parse(outcome.Output);
        Assert.All(json.RootElement.EnumerateArray(), row => Assert.True(row.GetProperty("ns-per-request").GetProperty("median").GetDouble() > 0));
    }
}
