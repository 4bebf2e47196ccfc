using Xunit;

namespace Ingot.Tests.Library;

/// <summary>Counts every byte that the process allocates, so nothing else may run meanwhile.</summary>
[Collection(nameof(BlockDeviceAllocationTests))]
[CollectionDefinition(nameof(BlockDeviceAllocationTests), DisableParallelization = true)]
public sealed class BlockDeviceAllocationTests
{
    [Fact]
    public async Task AllocatesNothingPerRequest()
    {
        const int Requests = 200_000;
        await using BlockDevice disk = await BlockDevice.OpenAsync("driver=memory,size=16M");
        byte[] data = new byte[4096];
        await ReadManyAsync(disk, data, 20_000);
        long before = GC.GetTotalAllocatedBytes(precise: true);
        await ReadManyAsync(disk, data, Requests);
        Assert.Equal(0, (GC.GetTotalAllocatedBytes(precise: true) - before) / Requests);
    }

    private static async Task ReadManyAsync(BlockDevice disk, byte[] data, int count)
    {
        for (int i = 0; i < count; i++)
        {
            await disk.ReadAsync(i % 1024 * 4096L, data);
        }
    }
}
