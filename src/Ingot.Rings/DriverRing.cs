namespace Ingot.Rings;

/// <summary>
/// The side of a queue pair that asks: a guest's driver, a program. One thread at a time. What the device writes is checked before it is used;
/// nonsense is an <see cref="Linux.ErrnoException"/> with EPROTO, after which the ring is of no more use.
/// </summary>
public abstract class DriverRing
{
    /// <summary>Puts a request into the ring, if there is room; the device sees it after <see cref="Publish"/>.</summary>
    /// <param name="token">The caller's name for it, below <see cref="RingGeometry.Depth"/>; no request in flight has the same.</param>
    /// <param name="header">What it asks for.</param>
    /// <param name="segments">Its data, at least one segment and at most <see cref="RingGeometry.MaxSegments"/>.</param>
    /// <returns>False when the ring is full.</returns>
    public abstract bool TrySubmit(ushort token, in RequestHeader header, ReadOnlySpan<Segment> segments);

    /// <summary>Shows the device what was put in, with one barrier for all of it.</summary>
    /// <returns>True when the device wants to be kicked.</returns>
    public abstract bool Publish();

    /// <summary>Takes an answer.</summary>
    /// <param name="completion">The answer.</param>
    /// <returns>False when there is none.</returns>
    public abstract bool TryTakeCompletion(out Completion completion);

    /// <summary>Tells the device which answers were taken, where the ring has a place for that. Once a batch.</summary>
    /// <returns>True when the device waits for it, and wants to be kicked.</returns>
    public virtual bool Acknowledge() => false;

    /// <summary>Asks for a call at the next answer.</summary>
    /// <returns>False when there is one already, so that waiting would be in vain.</returns>
    public abstract bool EnableCalls();

    /// <summary>Tells the device that no calls are needed. A hint.</summary>
    public abstract void DisableCalls();
}
