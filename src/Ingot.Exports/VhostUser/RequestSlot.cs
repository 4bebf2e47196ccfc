using Ingot.Io;
using Ingot.Virtio.Blk;

namespace Ingot.Exports.VhostUser;

/// <summary>A request in flight: its buffers, and what resumes when the node has served it. Pooled by its worker, so that a request allocates nothing.</summary>
internal sealed class RequestSlot(QueueWorker worker) : IoContinuation, IDisposable
{
    internal VirtioBlkRequest Request { get; } = new();

    /// <summary>What to ask for the outcome.</summary>
    internal IoTask.StatusAwaiter Outcome { get; set; }

    public void Dispose() => Request.Dispose();

    protected override void Resume() => worker.OnServed(this);
}
