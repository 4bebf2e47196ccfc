using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Tests.Exports;
using Xunit;

namespace Ingot.Tests.Block;

/// <summary>Which loop a graph runs on when exports with different loops use it.</summary>
public sealed class SettleTests
{
    [Fact]
    public void TheFirstWishCounts() => Run((first, second) =>
    {
        var node = new ArrayNode(new byte[512]);
        Assert.Same(first, node.Settle(first));
        Assert.Same(first, node.Settle(second));
        Assert.Same(first, node.Settle(null));
    });

    [Fact]
    public void NoWish_IsTheLoopThatOpenedTheNode() => Run((first, _) =>
    {
        var node = new ArrayNode(new byte[512]);
        Assert.Same(EventLoop.Current, node.Settle(null));
        Assert.Same(EventLoop.Current, node.Settle(first));
    });

    [Fact]
    public void NodesThatShareABoundOne_SettleWithIt() => Run((first, second) =>
    {
        var shared = new ArrayNode(new byte[512]);
        Assert.Same(first, new Overlay(shared).Settle(first));
        Assert.Same(first, new Overlay(shared).Settle(second));
    });

    [Fact]
    public void NodesThatShareOneForAnyLoop_SettleApart() => Run((first, second) =>
    {
        var shared = new ArrayNode(new byte[512], BlockFeatures.AnyLoop);
        Assert.Same(first, new Overlay(shared).Settle(first));
        Assert.Same(second, new Overlay(shared).Settle(second));
    });

    [Fact]
    public void NodeOverTwoLoops_IsRefused() => Run((first, second) =>
    {
        var left = new ArrayNode(new byte[512]);
        var right = new ArrayNode(new byte[512]);
        left.Settle(first);
        right.Settle(second);
        Assert.Equal(Errno.EBUSY, Assert.Throws<ErrnoException>(() => new Overlay(left, right).Settle(null)).Errno);
    });

    private static void Run(Action<EventLoop, EventLoop> body)
    {
        using EventLoop first = EventLoop.Start("first"), second = EventLoop.Start("second");
        EventLoop.RunMain(() =>
        {
            body(first, second);
            return new IoTask<int>(0);
        });
    }

    private sealed class Overlay(params BlockNode[] children) : BlockNode("overlay")
    {
        public override string DriverName => "overlay";

        public override long Length => 512;

        public override BlockFeatures Features => BlockFeatures.Write;

        public override IEnumerable<(string Role, BlockNode Node)> Children => children.Select(child => ("child", child));

        protected override IoTask ReadCore(long offset, IoVector data) => IoTask.Completed;

        protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags) => IoTask.Completed;

        protected override IoTask FlushCore() => IoTask.Completed;
    }
}
