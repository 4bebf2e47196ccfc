using CsCheck;
using Ingot.Drivers.Qcow2;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Counts of references beside a dictionary: few and many of them, near and far.</summary>
public class ReferenceMapTests
{
    private static Gen<(long Cluster, int Times)[]> Changes => Gen.Select(
        Gen.OneOf(Gen.Long[0, 20], Gen.Long[65_530, 65_540], Gen.Const(1L << 40)),
        Gen.OneOf(Gen.Const(1), Gen.Int[1, 3], Gen.Int[250, 600])).Array[1, 40];

    [Fact]
    public void Every_count_is_kept() => Changes.Sample(changes =>
    {
        var map = new ReferenceMap(_ => { });
        var model = new Dictionary<long, ulong>();
        foreach ((long cluster, int times) in changes)
        {
            if (times % 2 == 0 && !model.ContainsKey(cluster))
            {
                map.Set(cluster, (ulong)times);
            }
            else
            {
                for (int i = 0; i < times; i++)
                {
                    map.TryAdd(cluster);
                }
            }

            model[cluster] = model.GetValueOrDefault(cluster) + (ulong)times;
        }

        Assert.All(model, pair => Assert.Equal(pair.Value, map[pair.Key]));
        Assert.Equal(0UL, map[21]);
        Assert.Equal(0UL, map[1L << 41]);
        Assert.Equal(model.Keys.Max() + 1, map.End);
    });
}
