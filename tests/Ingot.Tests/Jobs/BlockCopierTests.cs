using CsCheck;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Jobs;
using Ingot.Tests.Exports;
using Xunit;

namespace Ingot.Tests.Jobs;

public class BlockCopierTests
{
    private const int Unit = 4096;

    // Each unit of the source is a hole, written zeroes, or data; the target starts with garbage or with zeroes.
    private static readonly Gen<int[]> Layout = Gen.Int[0, 2].Array[1, 300];

    [Fact]
    public void A_copy_reads_the_same_whatever_the_layout()
        => Gen.Select(Layout, Gen.Bool, Gen.Bool, Gen.Int[1, 9], Gen.OneOfConst(0, 512, 4096, 65536)).Sample(
            (layout, isZero, outOfOrder, parallel, sparse) =>
            {
                var options = new CopyOptions { TargetIsZero = isZero, OutOfOrder = outOfOrder, Parallel = parallel, SparseLength = sparse };
                Assert.Equal(0, EventLoop.RunMain(() => CopyAndCompareAsync(layout, options)));
            },
            iter: 60);

    // What is skipped at the start must not pass for the write that prepares the target: others would then get their space before it.
    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void The_first_write_is_alone_also_behind_a_hole(int holes)
        => EventLoop.RunMain(async () =>
        {
            const int count = 16;
            byte[] content = new byte[count * Unit];
            content.AsSpan().Fill(1);
            var source = new ArrayNode(content) { ExtentOf = (offset, _) => UnitAt(offset, isData: offset / Unit >= holes && (offset / Unit - holes) % 2 == 0) };
            var target = new ArrayNode(new byte[count * Unit]) { Holds = true };
            IoTask copying = new BlockCopier(source, target, new CopyOptions { TargetIsZero = true, SparseLength = Unit }).RunAsync();
            for (int turns = 0; turns < 100; turns++)
            {
                await EventLoop.Current.DelayAsync(TimeSpan.Zero);
            }

            Assert.Single(target.Calls);
            target.Holds = false;
            target.Release(0);
            await copying;
            Assert.Equal((count - holes + 1) / 2, target.Calls.Count);
            return 0;
        });

    [Fact]
    public void A_cancelled_copy_says_so()
        => Assert.Throws<OperationCanceledException>(() => EventLoop.RunMain(async () =>
        {
            BlockNode source = await OpenAsync(Unit);
            BlockNode target = await OpenAsync(Unit);
            await new BlockCopier(source, target, new CopyOptions()) { Cancellation = new CancellationToken(canceled: true) }.RunAsync();
            return 0;
        }));

    private static async IoTask<int> CopyAndCompareAsync(int[] layout, CopyOptions options)
    {
        long length = (long)layout.Length * Unit;
        BlockNode source = await OpenAsync(length);
        BlockNode target = await OpenAsync(length);
        using var buffer = new IoBuffer(Unit);
        for (int i = 0; i < layout.Length; i++)
        {
            buffer.Span.Fill(0xEE);
            if (!options.TargetIsZero)
            {
                await target.WriteAsync((long)i * Unit, buffer.Vector);
            }

            buffer.Span.Fill((byte)(layout[i] == 2 ? 1 + (i % 200) : 0));
            if (layout[i] > 0)
            {
                await source.WriteAsync((long)i * Unit, buffer.Vector);
            }
        }

        var copier = new BlockCopier(source, target, options);
        await copier.RunAsync();
        Assert.Equal(length, copier.Done);
        CompareResult result = await new CompareJob(source, target, isStrict: false).RunAsync();
        return result.Outcome == CompareOutcome.Identical ? 0 : 1;
    }

    private static Extent UnitAt(long offset, bool isData)
        => new(offset / Unit * Unit, Unit, ExtentFlags.Allocated | (isData ? ExtentFlags.Data : ExtentFlags.Zero));

    private static IoTask<BlockNode> OpenAsync(long length)
    {
        var options = new OptionSet();
        options.Set("driver", "memory");
        options.Set("size", length.ToString(System.Globalization.CultureInfo.InvariantCulture));
        return new BlockGraph().OpenAsync(options, OpenFlags.ReadWrite);
    }
}
