using Ingot.Block;

namespace Ingot.Drivers.VhostUserBlk;

/// <summary>Options of the driver `virtio-blk-vhost-user`.</summary>
/// <param name="Path">The server's socket.</param>
/// <param name="QueueCount">Queues to use; the server must have as many.</param>
/// <param name="QueueSize">Entries of each queue, a power of two.</param>
/// <param name="Packed">Packed virtqueues, if the server has them; split ones otherwise.</param>
/// <param name="Embedded">Request headers in the ring's entries (docs/embedded-virtqueue.md), if the server has them.</param>
public sealed record VhostUserBlkOptions(string Path, int QueueCount = 1, int QueueSize = VhostUserBlkOptions.DefaultQueueSize, bool Packed = false, bool Embedded = false)
{
    /// <summary>Entries of a queue unless the user says otherwise.</summary>
    public const int DefaultQueueSize = 256;

    /// <summary>The most queues of a device.</summary>
    public const int MaxQueueCount = 64;

    /// <summary>The largest queue: what common servers take.</summary>
    public const int MaxQueueSize = 1024;

    /// <summary>Takes the driver's options out of a set.</summary>
    /// <param name="options">The set.</param>
    /// <returns>The options.</returns>
    /// <exception cref="OptionException">One is missing or wrong.</exception>
    public static VhostUserBlkOptions Take(OptionSet options)
    {
        string path = options.TakeRequired("path");
        int queues = (int)(options.TakeNumber("num-queues", 1, MaxQueueCount) ?? 1);
        int size = (int)(options.TakeNumber("queue-size", 4, MaxQueueSize) ?? DefaultQueueSize);
        bool packed = options.TakeBool("packed") ?? false;
        bool embedded = options.TakeBool("embedded") ?? false;
        return (size & (size - 1)) == 0
            ? new VhostUserBlkOptions(path, queues, size, packed, embedded)
            : throw new OptionException($"Parameter 'queue-size' must be a power of two; got {size}");
    }
}
