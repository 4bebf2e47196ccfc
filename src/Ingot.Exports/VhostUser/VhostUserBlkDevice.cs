using Ingot.Exports.VirtioBlk;
using Ingot.Io;
using Ingot.Virtio;
using Ingot.Virtio.Rings;
using Ingot.Virtio.VhostUser;

namespace Ingot.Exports.VhostUser;

/// <summary>Joins the session, which lives on the export's loop, with the queue workers, which live on theirs.</summary>
internal sealed class VhostUserBlkDevice(VirtioBlkHandler handler, QueueWorker[] workers, VhostUserBlkOptions options, Action<string> warn) : IVhostUserDevice
{
    public ulong Features => handler.Features | (options.Packed ? VirtioFeatures.RingPacked : 0) | (options.Embedded ? VirtioFeatures.EmbeddedRequests : 0);

    public int QueueCount => workers.Length;

    public int MaxQueueSize => options.MaxQueueSize;

    public void ReadConfig(int offset, Span<byte> destination) => handler.ReadConfig(offset, destination);

    public bool WriteConfig(int offset, ReadOnlySpan<byte> source, bool isMigration) => handler.WriteConfig(offset, source, isMigration);

    public void SetFeatures(ulong features) => handler.SetFeatures(features);

    public void Reset() => handler.Reset();

    public void Warn(string message) => warn(message);

    public IoTask StartQueueAsync(int index, Virtqueue queue, Doorbells doorbells) => RunAsync(workers[index], worker =>
    {
        worker.Start(queue, doorbells);
        return IoTask.Completed;
    });

    public IoTask StopQueueAsync(int index) => RunAsync(workers[index], worker => worker.StopAsync());

    public IoTask SetDoorbellsAsync(int index, Doorbells doorbells) => RunAsync(workers[index], worker =>
    {
        worker.SetDoorbells(doorbells);
        return IoTask.Completed;
    });

    private static IoTask RunAsync(QueueWorker worker, Func<QueueWorker, IoTask> work)
        => worker.Loop == EventLoop.Current ? work(worker) : RunElsewhereAsync(worker, work);

    private static async IoTask RunElsewhereAsync(QueueWorker worker, Func<QueueWorker, IoTask> work)
        => await EventLoop.Current.WaitAsync(worker.Loop.RunAsync(async () =>
        {
            await work(worker);
            return true;
        }));
}
