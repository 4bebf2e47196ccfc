using Ingot.Block;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>How much memory cached tables take, and for how long.</summary>
public class TableCacheTests
{
    private const long TableCoverage = 2 << 20; // of an L2 table with clusters of 4 KiB
    private const int Tables = 100;

    [Fact]
    public void The_cache_keeps_to_its_size_and_forgets_what_is_not_used() => Loop.Run(async () =>
    {
        Qcow2Node node = await NewImageAsync(new Qcow2Options { L2CacheSize = 64 << 10 });
        TableCache cache = node.Image.Map.Tables;
        Assert.InRange(cache.Count, 1, 16);

        cache.Clean();
        Assert.InRange(cache.Count, 1, 16);
        await ReadAsync(node, 5);
        cache.Clean();
        Assert.Equal(1, cache.Count);
        cache.Clean();
        Assert.Equal(0, cache.Count);
        for (int i = 0; i < Tables; i++)
        {
            await ReadAsync(node, i);
        }

        await node.CloseAsync();
    });

    [Fact]
    public void What_must_be_written_is_not_forgotten() => Loop.Run(async () =>
    {
        Qcow2Node node = await NewImageAsync(new Qcow2Options());
        TableCache cache = node.Image.Map.Tables;
        await Qcow2Fixture.WriteAsync(node, 4096, [7]);
        int dirty = cache.DirtyCount;
        Assert.NotEqual(0, dirty);
        cache.Clean();
        cache.Clean();
        Assert.Equal(dirty, cache.Count);
        await node.FlushAsync();
        Assert.Equal(7, (await Qcow2Fixture.ReadAsync(node, 4096, 1))[0]);
        await node.CloseAsync();
    });

    [Theory]
    [InlineData(512, "64k")]
    [InlineData(4096, "4k")]
    [InlineData(64 << 10, "64k")]
    public void Tables_are_cached_in_pieces_of_the_size_wished_for(int entrySize, string clusterSize) => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 64 << 20, ("cluster_size", clusterSize));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, options: new Qcow2Options { L2CacheEntrySize = entrySize });
        Assert.Equal(entrySize, node.Image.Map.Tables.SliceLength);
        for (long offset = 0; offset < node.Length; offset += 3 << 20)
        {
            await Qcow2Fixture.WriteAsync(node, offset, [(byte)(offset >> 20)]);
        }

        await node.CloseAsync();
        node = await Qcow2Fixture.OpenAsync(disk);
        for (long offset = 0; offset < node.Length; offset += 3 << 20)
        {
            Assert.Equal((byte)(offset >> 20), (await Qcow2Fixture.ReadAsync(node, offset, 1))[0]);
        }

        await Model.CheckAsync(node);
        await node.CloseAsync();
    });

    [Fact]
    public void Memory_that_is_used_survives_the_return_of_the_rest() => Loop.Run(() =>
    {
        var pool = new SlicePool(4096);
        SlicePool.Slice[] slices = [.. Enumerable.Range(0, 200).Select(_ => pool.Rent())];
        foreach (SlicePool.Slice slice in slices)
        {
            slice.Data.Fill(1);
        }

        slices[150].Data.Fill(150);
        foreach (SlicePool.Slice slice in slices.Where((_, i) => i != 150))
        {
            pool.Return(slice);
        }

        pool.Trim();
        for (int i = 0; i < 200; i++)
        {
            pool.Rent().Data.Fill(2);
        }

        Assert.Equal(150, slices[150].Data.SingleSpan[4095]);
        pool.Free();
        return IoTask.Completed;
    });

    private static async IoTask<Qcow2Node> NewImageAsync(Qcow2Options options)
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Tables * TableCoverage, ("cluster_size", "4k"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        for (int i = 0; i < Tables; i++)
        {
            await Qcow2Fixture.WriteAsync(node, i * TableCoverage, [(byte)i]);
        }

        await node.CloseAsync();
        node = await Qcow2Fixture.OpenAsync(disk, options: options);
        for (int i = 0; i < Tables; i++)
        {
            await ReadAsync(node, i);
        }

        return node;
    }

    private static async IoTask ReadAsync(BlockNode node, int table)
        => Assert.Equal((byte)table, (await Qcow2Fixture.ReadAsync(node, table * TableCoverage, 1))[0]);
}
