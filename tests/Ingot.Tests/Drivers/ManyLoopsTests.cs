using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Tests.Drivers.Qcow2;
using Xunit;

namespace Ingot.Tests.Drivers;

/// <summary>The contract of <see cref="BlockNode"/> for nodes that any loop may call: several loops at once, each on bytes of its own between those of the others.</summary>
public class ManyLoopsTests
{
    private const int LoopCount = 3;
    private const int Size = 256 << 10;
    private const int Stripe = 1536; // whole sectors, but no whole blocks: those of different loops share them
    private const int StripeCount = Size / Stripe;
    private const int Steps = 200;

    [Theory]
    [InlineData("driver=memory,size=256k", IoEngine.Auto)]
    [InlineData("driver=file,filename=FILE", IoEngine.Auto)]
    [InlineData("driver=file,filename=FILE", IoEngine.Threads)]
    [InlineData("driver=file,filename=FILE,aio=threads", IoEngine.Auto)]
    [InlineData("driver=file,filename=FILE,cache.direct=on", IoEngine.Auto)]
    [InlineData("driver=file,filename=FILE,cache.direct=on", IoEngine.Threads)]
    [InlineData("driver=raw,file.filename=FILE,offset=4096", IoEngine.Auto)]
    [InlineData("driver=raw,file.filename=FILE,file.cache.direct=on,offset=512", IoEngine.Auto)]
    [InlineData("driver=throttle,throttle-group=g,file.driver=file,file.filename=FILE", IoEngine.Auto)]
    public void Bytes_of_one_loop_are_not_touched_by_others(string options, IoEngine engine)
    {
        using var directory = new TempDirectory();
        string file = directory["disk"];
        using (FileStream stream = System.IO.File.Create(file))
        {
            stream.SetLength(Size + 4096);
        }

        byte[] model = new byte[Size];
        var engineOptions = new EventLoopOptions { Engine = engine };
        EventLoop[] loops = [.. Enumerable.Range(0, LoopCount).Select(i => EventLoop.Start($"loop{i}", engineOptions))];
        Loop.Run(
            async () =>
            {
                var graph = new BlockGraph();
                graph.Throttles.Add(KeyValueText.Parse("id=g,x-iops-total=1000000000"));
                BlockNode node = await graph.OpenAsync(KeyValueText.Parse(options.Replace("FILE", file)), OpenFlags.ReadWrite);
                // Parts of larger sectors are read, changed and written back under a lock of one loop: such a node says that it belongs to one.
                Assert.Equal(node.Limits.RequestAlignment <= 512, (node.Features & BlockFeatures.AnyLoop) != 0);
                if ((node.Features & BlockFeatures.AnyLoop) == 0)
                {
                    await WorkAsync(node, 0, model);
                    await CompareAsync(node, model);
                    await node.CloseAsync();
                    return;
                }

                await OnAllAsync(loops, i => WorkAsync(node, i, model));
                await OnAllAsync(loops, _ => CompareAsync(node, model));
                await node.CloseAsync();
            },
            engine);
        Array.ForEach(loops, loop => loop.Dispose());
    }

    [Theory]
    [InlineData("")]
    [InlineData(",l2-cache-size=1k,l2-cache-entry-size=512,backing.l2-cache-size=1k,backing.l2-cache-entry-size=512")]
    public void A_qcow2_that_is_only_read_serves_all_loops(string options)
    {
        using var directory = new TempDirectory();
        const int Length = 4 << 20;
        byte[] model = Qcow2Fixture.Pattern(Length, 7);
        EventLoop[] loops = [.. Enumerable.Range(0, LoopCount).Select(i => EventLoop.Start($"loop{i}"))];
        Loop.Run(async () =>
        {
            await MakeChainAsync(directory["base"], directory["top"], model);
            BlockNode node = await new BlockGraph().OpenAsync(KeyValueText.Parse($"driver=qcow2,file.driver=file,file.filename={directory["top"]}{options}"), OpenFlags.None);
            Assert.True((node.Features & BlockFeatures.AnyLoop) != 0);
            await OnAllAsync(loops, async i =>
            {
                var random = new Random(i);
                for (int step = 0; step < Steps; step++)
                {
                    int at = random.Next(Length);
                    int length = random.Next(1, Math.Min(64 << 10, Length - at) + 1);
                    Assert.Equal(model[at..(at + length)], await Qcow2Fixture.ReadAsync(node, at, length));
                    Assert.InRange((await node.GetExtentAsync(at, length)).Length, 1, length);
                }

                await node.FlushAsync();
            });
            await node.CloseAsync();
        });
        Array.ForEach(loops, loop => loop.Dispose());
    }

    [Fact]
    public void A_qcow2_that_may_be_written_belongs_to_one_loop() => Loop.Run(async () =>
    {
        using var directory = new TempDirectory();
        await MakeChainAsync(directory["base"], directory["top"], new byte[1 << 20]);
        BlockNode node = await new BlockGraph().OpenFileAsync(directory["top"], "qcow2", OpenFlags.ReadWrite);
        Assert.True((node.Features & BlockFeatures.AnyLoop) == 0);
        Assert.True((node.Backing!.Features & BlockFeatures.AnyLoop) != 0);
        await node.CloseAsync();
    });

    // Every other stretch lies in the backing file, some of what is above compressed.
    private static async IoTask MakeChainAsync(string lower, string upper, byte[] model)
    {
        const int Stretch = 12 << 10;
        var graph = new BlockGraph();
        await new Qcow2Driver().CreateAsync(new CreateRequest(graph, lower, model.Length, Qcow2Fixture.Options(("cluster_size", "4k"))));
        BlockNode node = await graph.OpenFileAsync(lower, "qcow2", OpenFlags.ReadWrite);
        await Qcow2Fixture.WriteAsync(node, 0, model);
        await node.CloseAsync();
        await new Qcow2Driver().CreateAsync(new CreateRequest(graph, upper, model.Length, Qcow2Fixture.Options(("cluster_size", "4k"), ("backing_file", lower), ("backing_fmt", "qcow2"))));
        node = await graph.OpenFileAsync(upper, "qcow2", OpenFlags.ReadWrite);
        for (int at = 0; at + Stretch <= model.Length; at += 2 * Stretch)
        {
            bool isCompressed = at % (6 * Stretch) == 0;
            Array.Fill(model, (byte)at, at, isCompressed ? Stretch : 1);
            await Qcow2Fixture.WriteAsync(node, at, model[at..(at + Stretch)], isCompressed ? WriteFlags.Compressed : WriteFlags.None);
        }

        await node.CloseAsync();
    }

    private static async IoTask OnAllAsync(EventLoop[] loops, Func<int, IoTask> work)
    {
        Task<bool>[] running = [.. loops.Select((loop, i) => loop.RunAsync(async () =>
        {
            await work(i);
            return true;
        }))];
        foreach (Task<bool> task in running)
        {
            await EventLoop.Current.WaitAsync(task);
        }
    }

    private static async IoTask WorkAsync(BlockNode node, int index, byte[] model)
    {
        var random = new Random(index);
        using var buffer = new IoBuffer(Stripe);
        for (int step = 0; step < Steps; step++)
        {
            int at = (((random.Next(StripeCount / LoopCount) * LoopCount) + index) * Stripe) + random.Next(Stripe - 1);
            int length = random.Next(1, Stripe - (at % Stripe) + 1);
            byte value = (byte)random.Next(256);
            switch (random.Next(6))
            {
                case 0:
                    await node.WriteZeroesAsync(at, length, value % 2 == 0 ? ZeroFlags.MayUnmap : ZeroFlags.None);
                    model.AsSpan(at, length).Clear();
                    break;
                case 1:
                    await node.FlushAsync();
                    Assert.InRange((await node.GetExtentAsync(at, length)).Length, 1, length);
                    break;
                case 2:
                    await node.ReadAsync(at, buffer.Slice(0, length));
                    Assert.Equal(model.AsSpan(at, length), buffer.Span[..length]);
                    break;
                default:
                    buffer.Span[..length].Fill(value);
                    await node.WriteAsync(at, buffer.Slice(0, length), value % 4 == 0 ? WriteFlags.Fua : WriteFlags.None);
                    model.AsSpan(at, length).Fill(value);
                    break;
            }
        }
    }

    private static async IoTask CompareAsync(BlockNode node, byte[] model)
    {
        using var buffer = new IoBuffer(Size);
        await node.ReadAsync(0, buffer.Vector);
        Assert.Equal(model, buffer.Span);
    }
}
