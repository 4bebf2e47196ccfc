using Ingot.Linux;
using Ingot.Rings;
using Ingot.Rings.Lab;
using Xunit;

namespace Ingot.Tests.Rings;

public sealed class RingLabTests
{
    public static TheoryData<string> Statements => [.. RingFacts.Establish().Select(f => f.Statement)];

    [Theory]
    [MemberData(nameof(Statements))]
    public void What_is_said_about_rings_is_so(string statement)
    {
        RingFact fact = Assert.Single(RingFacts.Establish(), f => f.Statement == statement);
        Assert.True(fact.Holds, $"{fact.Statement}: {fact.Evidence}");
    }

    [Fact]
    public void Embedding_header_and_status_moves_fewer_cache_lines_than_any_other_virtqueue()
    {
        double embedded = Moved("embedded");
        double embeddedPacked = Moved("embedded-packed");
        Assert.All(["split", "split-indirect", "packed", "packed-indirect"], name => Assert.True(Moved(name) > 2 * Math.Max(embedded, embeddedPacked), name));
    }

    [Fact]
    public void Counts_are_the_same_each_time()
    {
        var settings = new LabSettings { Design = RingDesigns.Find("nvme")!, Segments = 5 };
        Assert.Equal(AccessCount.Measure(settings), AccessCount.Measure(settings));
    }

    [Fact]
    public void Settings_out_of_range_are_refused_with_their_value()
    {
        var settings = new LabSettings { Design = RingDesigns.Find("split")!, Depth = 4, Batch = 5 };
        ErrnoException e = Assert.Throws<ErrnoException>(settings.Check);
        Assert.Equal("Batch 5 is not from 1 to the depth of 4", e.Message);
        Assert.Throws<ErrnoException>(() => new RingGeometry(100, 4, 1));
    }

    private static double Moved(string design)
    {
        AccessCount count = AccessCount.Measure(new LabSettings { Design = RingDesigns.Find(design)! });
        return count.Driver.Transfers + count.Device.Transfers;
    }
}
