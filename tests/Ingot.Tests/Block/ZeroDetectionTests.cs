using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Tests.Exports;
using Xunit;

namespace Ingot.Tests.Block;

/// <summary>detect-zeroes: what becomes of writes whose data are all zeroes.</summary>
public sealed class ZeroDetectionTests
{
    [Theory]
    [InlineData(ZeroDetection.Off, WriteFlags.None, "write None")]
    [InlineData(ZeroDetection.On, WriteFlags.None, "zero 512 4096 None")]
    [InlineData(ZeroDetection.On, WriteFlags.Fua, "zero 512 4096 Fua")]
    [InlineData(ZeroDetection.Unmap, WriteFlags.None, "zero 512 4096 MayUnmap")]
    public void WriteOfZeroes(ZeroDetection mode, WriteFlags flags, string call) => Loop.Run(async () =>
    {
        var node = new ArrayNode(new byte[8192]) { DetectZeroes = mode };
        using IoBuffer data = IoBuffer.Zeroed(4096);
        await node.WriteAsync(512, data.Vector, flags);
        Assert.Equal([call], node.Calls);
    });

    [Fact]
    public void WriteWithOneByteSet_IsWritten() => Loop.Run(async () =>
    {
        var node = new ArrayNode(new byte[8192]) { DetectZeroes = ZeroDetection.Unmap };
        using IoBuffer data = IoBuffer.Zeroed(4096);
        data.Span[4095] = 1;
        await node.WriteAsync(0, data.Vector);
        Assert.Equal(["write None"], node.Calls);
    });

    [Fact]
    public void Option_IsTakenByAnyDriver() => Loop.Run(async () =>
    {
        BlockNode node = await new BlockGraph().OpenAsync(KeyValueText.Parse("driver=memory,size=1M,detect-zeroes=unmap,discard=unmap"), OpenFlags.ReadWrite);
        Assert.Equal(ZeroDetection.Unmap, node.DetectZeroes);
        await node.CloseAsync();
    });

    [Fact]
    public void Unmap_NeedsDiscard()
    {
        OptionException e = Assert.Throws<OptionException>(() => Loop.Run(async () =>
            await new BlockGraph().OpenAsync(KeyValueText.Parse("driver=memory,size=1M,detect-zeroes=unmap,discard=ignore"), OpenFlags.ReadWrite)));
        Assert.Contains("detect-zeroes", e.Message, StringComparison.Ordinal);
    }
}
