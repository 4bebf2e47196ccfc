using Ingot.Exports.VhostUser;

namespace Ingot;

/// <summary>What a <see cref="VhostUserBlkServer"/> offers.</summary>
public sealed record VhostUserBlkServerOptions
{
    /// <summary>Refuses writes of clients, also where the device can be written.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Queues, 1 to <see cref="VhostUserBlkOptions.MaxQueues"/>.</summary>
    public int QueueCount { get; init; } = 1;

    /// <summary>Offers packed virtqueues to clients.</summary>
    public bool Packed { get; init; }

    /// <summary>The logical block size that clients see; null for the smallest that the device serves well.</summary>
    public int? LogicalBlockSize { get; init; }

    /// <summary>The serial number that clients see, at most 20 characters; null for "ingot".</summary>
    public string? Serial { get; init; }
}
