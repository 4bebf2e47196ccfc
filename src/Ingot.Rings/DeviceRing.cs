namespace Ingot.Rings;

/// <summary>
/// The side of a queue pair that answers: a device, a kernel. One thread at a time. What the driver writes is read once and checked before it is used;
/// nonsense is an <see cref="Linux.ErrnoException"/> with EPROTO, after which the ring is of no more use.
/// </summary>
public abstract class DeviceRing
{
    /// <summary>Takes a request.</summary>
    /// <param name="request">Gets the request.</param>
    /// <returns>False when there is none.</returns>
    public abstract bool TryTake(DeviceRequest request);

    /// <summary>Answers a request; the driver sees it after <see cref="Publish"/>.</summary>
    /// <param name="tag"><see cref="DeviceRequest.Tag"/> of a request that was taken and not answered.</param>
    /// <param name="status">0 for success.</param>
    /// <param name="length">Bytes written to the driver.</param>
    public abstract void Complete(ushort tag, byte status, uint length);

    /// <summary>Shows the driver the answers and the requests taken, with one barrier for all of it.</summary>
    /// <returns>True when the driver wants to be called.</returns>
    public abstract bool Publish();

    /// <summary>Asks for a kick at the next request.</summary>
    /// <returns>False when there is one already, so that waiting would be in vain.</returns>
    public abstract bool EnableKicks();

    /// <summary>Tells the driver that no kicks are needed. A hint.</summary>
    public abstract void DisableKicks();
}
