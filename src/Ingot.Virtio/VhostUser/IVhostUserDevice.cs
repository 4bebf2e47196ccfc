using Ingot.Io;
using Ingot.Virtio.Rings;

namespace Ingot.Virtio.VhostUser;

/// <summary>The device behind a <see cref="BackendSession"/>. Called on the session's loop; rings may run on others.</summary>
public interface IVhostUserDevice
{
    /// <summary>Feature bits of device type and rings.</summary>
    ulong Features { get; }

    /// <summary>Queues.</summary>
    int QueueCount { get; }

    /// <summary>The most entries of a queue.</summary>
    int MaxQueueSize { get; }

    /// <summary>Copies configuration space; what lies beyond its end reads as zeroes.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="destination">Filled.</param>
    void ReadConfig(int offset, Span<byte> destination);

    /// <summary>Writes configuration space.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="isMigration">True when a migrated guest's values are restored: read-only fields are ignored then, not refused.</param>
    /// <returns>False when a field is read-only.</returns>
    bool WriteConfig(int offset, ReadOnlySpan<byte> source, bool isMigration);

    /// <summary>Driver and device have agreed.</summary>
    /// <param name="features">The bits.</param>
    void SetFeatures(ulong features);

    /// <summary>Back to the state of a new device. All queues are stopped.</summary>
    void Reset();

    /// <summary>Starts to serve a queue.</summary>
    /// <param name="index">The queue.</param>
    /// <param name="queue">Its ring.</param>
    /// <param name="doorbells">How to be told and to tell; stay open until the queue is stopped or gets others.</param>
    /// <returns>The task.</returns>
    IoTask StartQueueAsync(int index, Virtqueue queue, Doorbells doorbells);

    /// <summary>Takes no more from a queue, and waits for what is in flight.</summary>
    /// <param name="index">A queue that was started.</param>
    /// <returns>The task.</returns>
    IoTask StopQueueAsync(int index);

    /// <summary>Changes the doorbells of a queue that is being served.</summary>
    /// <param name="index">The queue.</param>
    /// <param name="doorbells">The new ones. The old ones are not used any more at completion.</param>
    /// <returns>The task.</returns>
    IoTask SetDoorbellsAsync(int index, Doorbells doorbells);

    /// <summary>Says something that an operator should see.</summary>
    /// <param name="message">A sentence.</param>
    void Warn(string message);
}
