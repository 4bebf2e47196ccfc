using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Drivers.Filters;

/// <summary>Nodes that compare what their children read as: quorum and blkverify.</summary>
public sealed class VotingTests : IDisposable
{
    private const int Size = 64 << 10;

    private readonly TempDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("1,1,2", "", 1)]
    [InlineData("2,1,1", "", 1)]
    [InlineData("2,1,1", ",read-pattern=fifo", 2)]
    public void The_majority_decides_or_the_first_child(string values, string options, byte expected) => Loop.Run(async () =>
    {
        byte[] content = [.. values.Split(',').Select(byte.Parse)];
        BlockNode node = await OpenQuorumAsync(content, $"vote-threshold=2{options}");
        Assert.Equal(expected, await FirstByteAsync(node));
        await node.CloseAsync();
        Assert.Equal(content, content.Select((_, i) => System.IO.File.ReadAllBytes(_directory[$"{i}"])[0]));
    });

    [Fact]
    public void Without_a_majority_reads_fail() => Loop.Run(async () =>
    {
        BlockNode node = await OpenQuorumAsync([1, 2, 3], "vote-threshold=2");
        using var data = new IoBuffer(512);
        Assert.Equal(Errno.EIO, await node.ReadAsync(0, data.Vector).Status());
        await node.CloseAsync();
    });

    [Fact]
    public void Who_was_outvoted_gets_what_the_others_have() => Loop.Run(async () =>
    {
        BlockNode node = await OpenQuorumAsync([1, 7, 1], "vote-threshold=2,rewrite-corrupted=on");
        await FirstByteAsync(node);
        await node.CloseAsync();
        Assert.Equal(1, System.IO.File.ReadAllBytes(_directory["1"])[0]);
    });

    [Fact]
    public void A_child_that_fails_is_gone_past_while_enough_are_left() => Loop.Run(async () =>
    {
        foreach (string threshold in (string[])["1", "2"])
        {
            BlockNode node = await new BlockGraph().OpenAsync(
                KeyValueText.Parse($"driver=quorum,vote-threshold={threshold},children.0.driver=blkdebug,children.0.image.driver=memory,children.0.image.size=64k,"
                    + "children.0.inject-error.0.event=none,children.1.driver=memory,children.1.size=64k"),
                OpenFlags.ReadWrite);
            using var data = new IoBuffer(512);
            Errno expected = threshold == "1" ? Errno.None : Errno.EIO;
            Assert.Equal(expected, await node.WriteAsync(0, data.Vector).Status());
            Assert.Equal(expected, await node.ReadAsync(0, data.Vector).Status());
            Assert.Equal(expected, await node.FlushAsync().Status());
            await node.CloseAsync();
        }
    });

    [Theory]
    [InlineData("driver=quorum,vote-threshold=2,blkverify=on,children.0.driver=file,children.0.filename=0,children.1.driver=file,children.1.filename=1", "quorum: offset=512 bytes=1024 contents mismatch at offset 1000")]
    [InlineData("driver=blkverify,raw.filename=0,test.driver=file,test.filename=1", "blkverify: read offset=512 bytes=1024 contents mismatch at offset 1000")]
    [InlineData("blkverify:0:1", "blkverify: read offset=512 bytes=1024 contents mismatch at offset 1000")]
    public void A_difference_is_told_with_its_place(string name, string message) => Loop.Run(async () =>
    {
        byte[] content = new byte[Size];
        System.IO.File.WriteAllBytes(_directory["0"], content);
        content[1000] = 1;
        System.IO.File.WriteAllBytes(_directory["1"], content);
        name = name.Replace("=0", $"={_directory["0"]}").Replace("filename=1", $"filename={_directory["1"]}").Replace(":0:1", $":{_directory["0"]}:{_directory["1"]}");
        var told = new List<string>();
        var graph = new BlockGraph { Diverged = told.Add };
        BlockNode node = name.Contains('=') ? await graph.OpenAsync(KeyValueText.Parse(name), OpenFlags.None) : await graph.OpenFileAsync(name, "raw", OpenFlags.None);
        using var data = new IoBuffer(1024);
        Assert.Equal(Errno.EIO, await node.ReadAsync(512, data.Vector).Status());
        Assert.Equal([message], told);
        Assert.Equal(Errno.None, await node.ReadAsync(2048, data.Vector).Status());
        await node.CloseAsync();
    });

    private async IoTask<BlockNode> OpenQuorumAsync(byte[] values, string options)
    {
        var text = new List<string> { $"driver=quorum,{options}" };
        for (int i = 0; i < values.Length; i++)
        {
            byte[] content = new byte[Size];
            content.AsSpan().Fill(values[i]);
            System.IO.File.WriteAllBytes(_directory[$"{i}"], content);
            text.Add($"children.{i}.driver=file,children.{i}.filename={_directory[$"{i}"]}");
        }

        return await new BlockGraph().OpenAsync(KeyValueText.Parse(string.Join(',', text)), OpenFlags.ReadWrite);
    }

    private static async IoTask<byte> FirstByteAsync(BlockNode node)
    {
        using var data = new IoBuffer(512);
        await node.ReadAsync(0, data.Vector);
        return data.Span[0];
    }
}
