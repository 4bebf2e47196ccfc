using Ingot.Block;
using Ingot.Io;

namespace Ingot.Tests.Exports;

/// <summary>A disk that is read without any work; every other read completes in a later turn.</summary>
internal sealed class ConstantNode() : BlockNode("constant")
{
    private readonly Stack<LaterPromise> _pool = new();
    private int _count;

    public override string DriverName => "constant";

    public override long Length => 1 << 20;

    public override BlockFeatures Features => BlockFeatures.None;

    protected override IoTask ReadCore(long offset, IoVector data)
    {
        if (_count++ % 2 == 0)
        {
            return IoTask.Completed;
        }

        if (!_pool.TryPop(out LaterPromise? promise))
        {
            promise = new LaterPromise(_pool);
        }

        IoTask task = promise.Task;
        EventLoop.Current.Post(promise);
        return task;
    }

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags) => IoTask.Completed;

    protected override IoTask FlushCore() => IoTask.Completed;

    private sealed class LaterPromise(Stack<LaterPromise> pool) : IoPromise
    {
        protected internal override void Resume() => Complete();

        protected override void Recycle()
        {
            Reset();
            pool.Push(this);
        }
    }
}
