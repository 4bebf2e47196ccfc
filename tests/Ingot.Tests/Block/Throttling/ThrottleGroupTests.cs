using Ingot.Block;
using Ingot.Block.Throttling;
using Ingot.Drivers;
using Ingot.Drivers.Throttle;
using Xunit;

namespace Ingot.Tests.Block.Throttling;

/// <summary>How long requests wait, in the time that the test tells.</summary>
public class ThrottleGroupTests
{
    [Fact]
    public void Requests_beyond_a_tenth_of_a_second_come_at_the_rate()
    {
        ThrottleGroup group = New("iops-total=100");
        double last = Enumerable.Range(0, 111).Select(_ => group.Claim(1000, false, 512)).ToArray()[^1];
        Assert.Equal(1, last, 9);
        Assert.Equal(0.01, group.Claim(1001, true, 512), 9);
        Assert.Equal(0, group.Claim(2000, true, 512));
    }

    [Fact]
    public void Bytes_count_in_their_own_direction()
    {
        ThrottleGroup group = New("bps-read=1000,bps-write=2000");
        Assert.Equal(0, group.Claim(0, false, 1100));
        Assert.Equal(1, group.Claim(0, false, 100), 9);
        Assert.Equal(0, group.Claim(0, true, 1200));
        Assert.Equal(0.5, group.Claim(0, true, 1), 9);
    }

    [Fact]
    public void Bursts_last_as_long_as_allowed()
    {
        ThrottleGroup group = New("iops-total=10,iops-total-max=100,iops-total-max-length=3");
        double now = 0;
        int sent = 0;
        for (; sent < 400; sent++)
        {
            double wait = group.Claim(now, false, 512);
            now += wait;
            if (wait > 0.05)
            {
                break;
            }
        }

        Assert.InRange(now, 2.5, 4);
        Assert.InRange(sent, 300, 350);
    }

    [Fact]
    public void Long_requests_count_more_than_once()
    {
        ThrottleGroup group = New("iops-total=10,iops-size=4096");
        Assert.Equal(0, group.Claim(0, false, 4096 * 11));
        Assert.Equal(1, group.Claim(0, false, 1), 9);
    }

    [Theory]
    [InlineData("id=g,x-iops-total=1,limits.iops-total=2,foo=1", "Parameter 'foo' is unexpected")]
    [InlineData("id=g,limits.foo=1", "Parameter 'limits.foo' is unexpected")]
    [InlineData("id=g,x-bps-total=1,x-bps-write=1", "bps/iops/max total values and read/write values cannot be used at the same time")]
    [InlineData("id=g,x-bps-total=-1", "Property values cannot be negative")]
    [InlineData("id=g,x-iops-total=5,x-iops-total-max=1", "bps_max/iops_max cannot be lower than bps/iops")]
    public void Wrong_limits_are_named(string options, string message)
        => Assert.Equal(message, Assert.Throws<OptionException>(() => new ThrottleTable().Add(KeyValueText.Parse(options))).Message);

    [Fact]
    public void Nodes_find_their_group() => Loop.Run(async () =>
    {
        var graph = new BlockGraph();
        graph.Throttles.Add(KeyValueText.Parse("id=g,x-iops-total=1000000"));
        BlockNode node = await graph.OpenAsync(KeyValueText.Parse("driver=throttle,throttle-group=g,file.driver=memory,file.size=4k"), OpenFlags.ReadWrite);
        using var data = new Ingot.Io.IoBuffer(512);
        await node.WriteAsync(0, data.Vector);
        await node.ReadAsync(0, data.Vector);
        Assert.True((node.Features & BlockFeatures.AnyLoop) != 0);
        await node.CloseAsync();
    });

    private static ThrottleGroup New(string limits) => new(ThrottleLimits.Take(KeyValueText.Parse(limits), ""));
}
