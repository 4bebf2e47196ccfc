using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Xunit;

namespace Ingot.Tests.Drivers.Filters;

/// <summary>How long the file is while it grows through the preallocate driver, and afterwards.</summary>
public class PreallocateTests
{
    [Fact]
    public void A_file_grows_in_large_pieces_and_is_cut_when_it_is_closed() => Loop.Run(async () =>
    {
        using var directory = new TempDirectory();
        string file = directory["a"];
        System.IO.File.WriteAllBytes(file, new byte[4096]);
        BlockNode node = await new BlockGraph().OpenAsync(
            KeyValueText.Parse($"driver=preallocate,prealloc-align=64k,prealloc-size=100k,file.driver=file,file.filename={file}"), OpenFlags.ReadWrite);
        using IoBuffer data = IoBuffer.Zeroed(8192);
        await node.WriteAsync(0, data.Slice(0, 4096));
        Assert.Equal(4096, new FileInfo(file).Length);
        await node.WriteAsync(2048, data.Vector);
        Assert.Equal(10240, node.Length);
        Assert.Equal(128 << 10, new FileInfo(file).Length);
        await node.ResizeAsync(200 << 10);
        Assert.Equal((200 << 10, 200 << 10), (node.Length, new FileInfo(file).Length));
        await node.WriteAsync(200 << 10, data.Slice(0, 512));
        Assert.Equal(320 << 10, new FileInfo(file).Length);
        await node.CloseAsync();
        Assert.Equal((200 << 10) + 512, new FileInfo(file).Length);
    });
}
