using CsCheck;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Drivers;

/// <summary>The contract of <see cref="BlockNode"/> for the drivers without a format: what is written is read, whatever the engine.</summary>
public class LeafDriverTests
{
    private const int Size = 256 * 1024;

    public static TheoryData<string, IoEngine> Variants => new()
    {
        { "driver=memory,size=256k", IoEngine.Auto },
        { "driver=file,filename=FILE", IoEngine.Auto },
        { "driver=file,filename=FILE", IoEngine.Threads },
        { "driver=file,filename=FILE,aio=threads", IoEngine.Auto },
        { "driver=file,filename=FILE,cache.direct=on", IoEngine.Auto },
        { "driver=raw,file.filename=FILE,offset=4096", IoEngine.Auto },
        { "driver=raw,file.filename=FILE,file.cache.direct=on,offset=512", IoEngine.Threads },
        { "driver=blkverify,raw.driver=memory,raw.size=260k,test.driver=file,test.filename=FILE", IoEngine.Auto },
        { "driver=quorum,vote-threshold=2,children.0.driver=memory,children.0.size=256k,children.1.driver=memory,children.1.size=256k", IoEngine.Auto },
        { "driver=copy-on-read,file.driver=file,file.filename=FILE", IoEngine.Auto },
        { "driver=raw,file.driver=preallocate,file.file.driver=file,file.file.filename=FILE,file.prealloc-size=8k,file.prealloc-align=512", IoEngine.Auto },
    };

    [Theory]
    [MemberData(nameof(Variants))]
    public void Reads_give_what_was_written(string options, IoEngine engine)
    {
        using var directory = new TempDirectory();
        string file = directory["disk.raw"];
        Gen.Select(Gen.Int[0, 3], Gen.Int[0, Size - 1], Gen.Int[1, 20_000], Gen.Byte).Array[1, 60].Sample(
            steps => Loop.Run(() => CompareWithModel(options, file, steps), engine),
            iter: 20,
            threads: 1);
    }

    [Fact]
    public void Two_writers_of_one_file_are_refused_with_its_name() => Loop.Run(async () =>
    {
        using var directory = new TempDirectory();
        System.IO.File.WriteAllBytes(directory["a"], new byte[512]);
        var graph = new BlockGraph();
        BlockNode writer = await graph.OpenFileAsync(directory["a"], "raw", OpenFlags.ReadWrite);
        string message = await MessageOf(graph.OpenFileAsync(directory["a"], "raw", OpenFlags.ReadWrite));
        Assert.Contains("lock", message);
        Assert.Contains(directory["a"], message);
        BlockNode shared = await graph.OpenFileAsync(directory["a"], "raw", OpenFlags.ForceShare);
        await shared.CloseAsync();
        await writer.CloseAsync();
        BlockNode again = await graph.OpenFileAsync(directory["a"], "raw", OpenFlags.ReadWrite);
        await again.CloseAsync();
    });

    [Fact]
    public void A_FIFO_is_refused_at_once() => Loop.Run(async () =>
    {
        using var directory = new TempDirectory();
        System.Diagnostics.Process.Start("mkfifo", directory["pipe"]).WaitForExit();
        Assert.Contains("to be a regular file", await MessageOf(new BlockGraph().OpenFileAsync(directory["pipe"], null, OpenFlags.None)));
    });

    [Fact]
    public void A_probed_raw_disk_can_not_be_given_the_header_of_another_format() => Loop.Run(async () =>
    {
        using var directory = new TempDirectory();
        System.IO.File.WriteAllBytes(directory["a"], new byte[4096]);
        BlockNode node = await new BlockGraph().OpenFileAsync(directory["a"], null, OpenFlags.ReadWrite);
        using IoBuffer header = IoBuffer.Zeroed(512);
        await node.WriteAsync(0, header.Vector);
        await node.CloseAsync();
    });

    [Theory]
    [InlineData("")]
    [InlineData(",cache.direct=on")]
    public void Zeroes_behind_the_end_of_a_file_leave_what_shares_their_block(string options) => Loop.Run(async () =>
    {
        using var directory = new TempDirectory();
        byte[] before = [.. Enumerable.Range(0, 1536).Select(n => (byte)(n | 1))];
        System.IO.File.WriteAllBytes(directory["a"], before);
        BlockNode node = await new BlockGraph().OpenAsync(KeyValueText.Parse($"driver=file,filename={directory["a"]}{options}"), OpenFlags.ReadWrite);
        await node.WriteZeroesAsync(1536, 512, ZeroFlags.MayUnmap);
        await node.CloseAsync();
        Assert.Equal([.. before, .. new byte[512]], System.IO.File.ReadAllBytes(directory["a"]).AsSpan(0, 2048).ToArray());
    });

    [Fact]
    public void Unknown_options_are_named() => Loop.Run(async () =>
    {
        Assert.Contains("'bogus'", await MessageOf(new BlockGraph().OpenAsync(KeyValueText.Parse("driver=null-co,bogus=1"), OpenFlags.None)));
        Assert.Contains("'nosuch'", await MessageOf(new BlockGraph().OpenAsync(KeyValueText.Parse("driver=nosuch"), OpenFlags.None)));
        Assert.Contains("/no/such/file", await MessageOf(new BlockGraph().OpenFileAsync("/no/such/file", null, OpenFlags.None)));
    });

    [Fact]
    public void Requests_outside_of_a_node_are_refused() => Loop.Run(async () =>
    {
        BlockNode node = await new BlockGraph().OpenAsync(KeyValueText.Parse("driver=memory,size=4k"), OpenFlags.ReadWrite);
        using var data = new IoBuffer(512);
        Assert.Equal(Errno.EINVAL, Assert.Throws<ErrnoException>(() => node.ReadAsync(4096 - 256, data.Vector)).Errno);
        Assert.Equal(Errno.EINVAL, Assert.Throws<ErrnoException>(() => node.WriteAsync(long.MaxValue - 256, data.Vector)).Errno);
        await node.CloseAsync();
    });

    private static async IoTask<string> MessageOf(IoTask<BlockNode> opening)
    {
        try
        {
            await opening;
        }
        catch (ErrnoException e)
        {
            return e.Message;
        }

        return "";
    }

    private static async IoTask CompareWithModel(string options, string file, (int Kind, int Offset, int Length, byte Value)[] steps)
    {
        System.IO.File.WriteAllBytes(file, []);
        using (FileStream stream = System.IO.File.OpenWrite(file))
        {
            stream.SetLength(Size + 4096);
        }

        BlockNode node = await new BlockGraph().OpenAsync(KeyValueText.Parse(options.Replace("FILE", file)), OpenFlags.ReadWrite);
        byte[] model = new byte[Size];
        using var buffer = new IoBuffer(Size);
        foreach ((int kind, int offset, int requested, byte value) in steps)
        {
            int length = Math.Min(requested, Size - offset);
            switch (kind)
            {
                case 0:
                    await node.ReadAsync(offset, buffer.Slice(3, length - Math.Min(3, length)).Slice(0));
                    Assert.Equal(model.AsSpan(offset, length - Math.Min(3, length)), buffer.Span.Slice(3, length - Math.Min(3, length)));
                    break;
                case 1:
                    buffer.Span[..length].Fill(value);
                    await node.WriteAsync(offset, buffer.Slice(0, length), value % 4 == 0 ? WriteFlags.Fua : WriteFlags.None);
                    model.AsSpan(offset, length).Fill(value);
                    break;
                case 2:
                    await node.WriteZeroesAsync(offset, length, value % 2 == 0 ? ZeroFlags.MayUnmap : ZeroFlags.None);
                    model.AsSpan(offset, length).Clear();
                    break;
                default:
                    await node.FlushAsync();
                    break;
            }
        }

        await node.ReadAsync(0, buffer.Vector);
        Assert.Equal(model, buffer.Span);
        await node.CloseAsync();
    }
}
