using System.Buffers;
using Ingot.Io;
using Xunit;

namespace Ingot.Tests.Library;

/// <summary>The library as a program uses it, on images in memory and in files.</summary>
public sealed class BlockDeviceTests
{
    private const string Memory = "driver=memory,size=16M";

    [Fact]
    public async Task ReadsWhatItWrote()
    {
        await using BlockDevice disk = await BlockDevice.OpenAsync(Memory);
        byte[] data = Random(100_001, 1);
        byte[] back = new byte[data.Length];
        await disk.WriteAsync(12345, data);
        await disk.FlushAsync();
        await disk.ReadAsync(12345, back);
        Assert.Equal(data, back);
        Assert.Equal(16 << 20, disk.Length);
        Assert.False(disk.IsReadOnly);
    }

    [Fact]
    public async Task ScattersAndGathers()
    {
        await using BlockDevice disk = await BlockDevice.OpenAsync(Memory);
        byte[] data = Random(3000, 2);
        await disk.WriteAsync(512, new ReadOnlyMemory<byte>[] { data.AsMemory(0, 1000), default, data.AsMemory(1000, 1), data.AsMemory(1001) });
        byte[] first = new byte[2500], second = new byte[500];
        await disk.ReadAsync(512, new Memory<byte>[] { first, second });
        Assert.Equal(data, first.Concat(second));
    }

    [Fact]
    public async Task CreatesAnImageAndOpensItAgain()
    {
        using var directory = new TempDirectory();
        byte[] data = Random(5000, 3);
        await using (BlockDevice disk = await BlockDevice.CreateAsync(directory["a.raw"], "raw", 1 << 20))
        {
            await disk.WriteAsync(1000, data);
            await disk.FlushAsync();
        }

        await using BlockDevice again = await BlockDevice.OpenAsync(directory["a.raw"], new BlockDeviceOptions { ReadOnly = true, Format = "raw" });
        byte[] back = new byte[data.Length];
        await again.ReadAsync(1000, back);
        Assert.Equal(data, back);
        Assert.True(again.IsReadOnly);
        Assert.Throws<InvalidOperationException>(() => { _ = again.WriteAsync(0, data); });
    }

    [Fact]
    public async Task CompletedWriteSurvivesTheEndOfTheProcess()
    {
        using var directory = new TempDirectory();
        byte[] data = Random(100_000, 4);
        await using BlockDevice disk = await BlockDevice.CreateAsync(directory["a.qcow2"], "qcow2", 1 << 24);
        await disk.WriteAsync(777, data);

        // What the kernel has of the file is what it would have if this process were killed now.
        File.Copy(directory["a.qcow2"], directory["left.qcow2"]);
        await using BlockDevice left = await BlockDevice.OpenAsync(directory["left.qcow2"]);
        byte[] back = new byte[data.Length];
        await left.ReadAsync(777, back);
        Assert.Equal(data, back);
    }

    [Fact]
    public async Task TellsWhatIsZero()
    {
        using var directory = new TempDirectory();
        await using BlockDevice disk = await BlockDevice.CreateAsync(directory["a.raw"], "raw", 4 << 20);
        await disk.WriteAsync(1 << 20, Random(1 << 20, 4));
        await disk.FlushAsync();
        long position = 0;
        bool dataSeen = false;
        await foreach (BlockExtent extent in disk.EnumerateExtentsAsync())
        {
            Assert.Equal(position, extent.Offset);
            position = extent.End;
            dataSeen |= !extent.IsZero;
        }

        Assert.Equal(4 << 20, position);
        Assert.True(dataSeen);
    }

    [Fact]
    public async Task WritesZeroesDiscardsAndResizes()
    {
        using var directory = new TempDirectory();
        await using BlockDevice disk = await BlockDevice.CreateAsync(directory["a.raw"], "raw", 1 << 20);
        await disk.WriteAsync(0, Random(1 << 20, 5));
        await disk.WriteZeroesAsync(1000, 100_000);
        await disk.DiscardAsync(1 << 19, 4096);
        byte[] back = new byte[100_000];
        await disk.ReadAsync(1000, back);
        Assert.DoesNotContain(back, b => b != 0);
        await disk.ResizeAsync(2 << 20);
        Assert.Equal(2 << 20, disk.Length);
        await disk.ReadAsync((2 << 20) - 10, back.AsMemory(0, 10));
    }

    [Fact]
    public async Task IsAStream()
    {
        await using BlockDevice disk = await BlockDevice.OpenAsync(Memory);
        byte[] data = Random(1 << 20, 6);
        await using Stream stream = disk.AsStream();
        await new MemoryStream(data).CopyToAsync(stream);
        stream.Write(data, 0, 777);
        stream.Seek(0, SeekOrigin.Begin);
        byte[] back = new byte[data.Length + 777];
        stream.ReadExactly(back, 0, 1000);
        await stream.ReadExactlyAsync(back.AsMemory(1000));
        Assert.Equal([.. data, .. data.AsSpan(0, 777)], back);
        stream.Position = stream.Length - 5;
        Assert.Equal(5, stream.Read(back, 0, 10));
        Assert.Equal(0, stream.Read(back, 0, 10));
        Assert.Throws<IOException>(() => stream.Write(back, 0, 1));
    }

    [Fact]
    public async Task RefusesWhatLiesOutside()
    {
        await using BlockDevice disk = await BlockDevice.OpenAsync(Memory);
        Assert.Throws<ArgumentOutOfRangeException>(() => { _ = disk.ReadAsync(disk.Length, new byte[1]); });
        Assert.Throws<ArgumentOutOfRangeException>(() => { _ = disk.ReadAsync(-1, new byte[1]); });
        Assert.Throws<ArgumentOutOfRangeException>(() => { _ = disk.DiscardAsync(0, long.MaxValue); });
    }

    [Fact]
    public async Task NamesWhatCanNotBeOpened()
    {
        IOException e = await Assert.ThrowsAnyAsync<IOException>(async () => await BlockDevice.OpenAsync("/nowhere/disk.raw"));
        Assert.Contains("/nowhere/disk.raw", e.Message);
        e = await Assert.ThrowsAnyAsync<IOException>(async () => await BlockDevice.ConnectVhostUserAsync("/nowhere/disk.sock"));
        Assert.Contains("/nowhere/disk.sock", e.Message);
    }

    [Fact]
    public async Task IsCancelledBeforeItStarts()
    {
        await using BlockDevice disk = await BlockDevice.OpenAsync(Memory);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await disk.ReadAsync(0, new byte[512], new CancellationToken(true)));
        await disk.ReadAsync(0, new byte[512]);
    }

    [Fact]
    public async Task EndsWithItsRequests()
    {
        BlockDevice disk = await BlockDevice.OpenAsync(Memory);
        ValueTask pending = disk.WriteAsync(0, new byte[1 << 20]);
        await disk.DisposeAsync();
        await pending;
        await disk.DisposeAsync();
        Assert.Throws<ObjectDisposedException>(() => { _ = disk.ReadAsync(0, new byte[1]); });
    }

    [Fact]
    public async Task IsUsedFromManyThreads()
    {
        await using BlockDevice disk = await BlockDevice.OpenAsync(Memory);
        await Parallel.ForEachAsync(Enumerable.Range(0, 64), async (i, _) =>
        {
            byte[] data = Random(4096, i), back = new byte[4096];
            for (int round = 0; round < 50; round++)
            {
                await disk.WriteAsync(i * 8192L, data);
                await disk.ReadAsync(i * 8192L, back);
                Assert.Equal(data, back);
            }
        });
    }

    [Fact]
    public async Task SharesALoop()
    {
        using EventLoop loop = EventLoop.Start("test");
        await using BlockDevice first = await BlockDevice.OpenAsync(Memory, new BlockDeviceOptions { Loop = loop });
        await using BlockDevice second = await BlockDevice.OpenAsync(Memory, new BlockDeviceOptions { Loop = loop });
        await first.WriteAsync(0, new byte[512]);
        await second.WriteAsync(0, new byte[512]);
    }

    [Fact]
    public async Task ServesADeviceToAnother()
    {
        using var directory = new TempDirectory();
        await using BlockDevice disk = await BlockDevice.OpenAsync(Memory);
        await using VhostUserBlkServer server = await VhostUserBlkServer.StartAsync(disk, directory["disk.sock"]);
        await using BlockDevice client = await BlockDevice.ConnectVhostUserAsync(directory["disk.sock"]);
        Assert.Equal(disk.Length, client.Length);
        using IMemoryOwner<byte> buffer = await client.AllocateBufferAsync(100_000);
        byte[] data = Random(100_000, 7), back = new byte[100_000];
        data.CopyTo(buffer.Memory);
        await client.WriteAsync(4096, buffer.Memory[..65536]);
        await client.WriteAsync(4096 + 65536, data.AsMemory(65536));
        await client.FlushAsync();
        await disk.ReadAsync(4096, back);
        Assert.Equal(data, back);
        Assert.True(server.IsConnected);
        await client.ReconnectAsync();
        Array.Clear(back);
        await client.ReadAsync(4096, back);
        Assert.Equal(data, back);
    }

    [Fact]
    public async Task TellsClientsOfANewSize()
    {
        using var directory = new TempDirectory();
        await using BlockDevice disk = await BlockDevice.CreateAsync(directory["a.raw"], "raw", 1 << 20);
        await using VhostUserBlkServer server = await VhostUserBlkServer.StartAsync(disk, directory["disk.sock"]);
        await using BlockDevice client = await BlockDevice.ConnectVhostUserAsync(directory["disk.sock"]);
        await disk.ResizeAsync(3 << 20);
        // The word of it comes on a channel of its own; requests keep the client's loop turning until it does.
        while (client.Length == 1 << 20)
        {
            await client.ReadAsync(0, new byte[512]);
        }

        Assert.Equal(3 << 20, client.Length);
        await client.WriteAsync((3 << 20) - 512, new byte[512]);
    }

    [Fact]
    public async Task FailsWithTheSocketsNameWhenTheServerStops()
    {
        using var directory = new TempDirectory();
        string socket = directory["disk.sock"];
        await using BlockDevice disk = await BlockDevice.OpenAsync(Memory);
        VhostUserBlkServer server = await VhostUserBlkServer.StartAsync(disk, socket);
        await using BlockDevice client = await BlockDevice.ConnectVhostUserAsync(socket);
        await client.WriteAsync(0, new byte[512]);
        await server.DisposeAsync();
        IOException e = await Assert.ThrowsAnyAsync<IOException>(async () =>
        {
            while (true)
            {
                await client.ReadAsync(0, new byte[512]);
            }
        });
        Assert.Contains(socket, e.Message);
        await Assert.ThrowsAnyAsync<IOException>(async () => await client.ReconnectAsync());
        await using VhostUserBlkServer again = await VhostUserBlkServer.StartAsync(disk, socket);
        await client.ReconnectAsync();
        await client.ReadAsync(0, new byte[512]);
    }

    private static byte[] Random(int length, int seed)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
