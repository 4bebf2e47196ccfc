using System.Numerics;
using Ingot.Block;
using Ingot.Linux;

namespace Ingot.Exports.VhostUser;

/// <summary>Options of a vhost-user-blk export, as `--export type=vhost-user-blk` takes them.</summary>
public sealed record VhostUserBlkOptions
{
    /// <summary>The most queues of an export.</summary>
    public const int MaxQueues = 64;

    /// <summary>The largest logical block size.</summary>
    public const int MaxBlockSize = 2 << 20;

    /// <summary>The export's id.</summary>
    public required string Id { get; init; }

    /// <summary>Where to listen (addr.type=unix); this or <see cref="Socket"/>.</summary>
    public string? Path { get; init; }

    /// <summary>A listening or connected socket from our parent (addr.type=fd); owned by the export.</summary>
    public FileDescriptor? Socket { get; init; }

    /// <summary>Writing is allowed.</summary>
    public bool Writable { get; init; }

    /// <summary>Every write is durable at its completion, until a driver switches the write cache on (writethrough).</summary>
    public bool WriteThrough { get; init; }

    /// <summary>Queues (num-queues).</summary>
    public int QueueCount { get; init; } = 1;

    /// <summary>Packed virtqueues are offered to drivers (packed).</summary>
    public bool Packed { get; init; }

    /// <summary>Rings with embedded request headers are offered to drivers: Ingot's own experiment (embedded).</summary>
    public bool Embedded { get; init; }

    /// <summary>The guest's memory is registered with the rings of the loops that serve it, all of it made and held; not for guests with a balloon (register-memory).</summary>
    public bool RegisterMemory { get; init; }

    /// <summary>The logical block size; null for the smallest that the node can do.</summary>
    public int? LogicalBlockSize { get; init; }

    /// <summary>The serial number; null for the id.</summary>
    public string? Serial { get; init; }

    /// <summary>The most entries of a queue.</summary>
    public int MaxQueueSize { get; init; } = 1024;

    /// <summary>Refuses what can't work, and settles the block size.</summary>
    /// <param name="node">The node to export.</param>
    /// <returns>The logical block size.</returns>
    /// <exception cref="ErrnoException">An option is wrong, or does not fit the node.</exception>
    internal int Validate(BlockNode node)
    {
        const int SmallestBlock = 512;
        int blockSize = LogicalBlockSize ?? Math.Max(SmallestBlock, node.Limits.RequestAlignment);
        Require((Path is null) != (Socket is null), "exactly one of a socket path and a file descriptor is needed");
        Require(QueueCount is >= 1 and <= MaxQueues, $"num-queues must be 1 to {MaxQueues}, not {QueueCount}");
        Require(blockSize is >= SmallestBlock and <= MaxBlockSize && BitOperations.IsPow2(blockSize), $"logical-block-size must be a power of two from {SmallestBlock} to {MaxBlockSize}, not {blockSize}");
        Require(blockSize >= node.Limits.RequestAlignment, $"logical-block-size {blockSize} is less than the {node.Limits.RequestAlignment} bytes that node '{node.Name}' needs");
        Require(BitOperations.IsPow2(MaxQueueSize) && MaxQueueSize <= Virtio.Rings.SplitLayout.MaxQueueSize, $"the queue size must be a power of two, not {MaxQueueSize}");
        Require(!Writable || !node.IsReadOnly, $"node '{node.Name}' is read-only, it can't be exported with writable=on");
        return blockSize;
    }

    private void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new ErrnoException(Errno.EINVAL, $"Export '{Id}': {otherwise}");
        }
    }
}
