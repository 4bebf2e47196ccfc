using Ingot.Virtio.Memory;

namespace Ingot.Virtio.Rings;

/// <summary>What <see cref="Virtqueue.TryPop"/> found.</summary>
public enum PopResult
{
    /// <summary>Nothing: the driver has made no more buffers available.</summary>
    Empty,

    /// <summary>A chain.</summary>
    Popped,

    /// <summary>Nonsense: see <see cref="Virtqueue.Defect"/>. The queue must not be used any more.</summary>
    Broken,
}

/// <summary>
/// The device side of a virtqueue, whatever its layout. Used by one thread. A turn is: pop until empty, push what is done, publish once, ask once
/// whether the driver wants a call.
/// </summary>
public abstract class Virtqueue
{
    /// <summary>Where its buffers are.</summary>
    public abstract GuestMemory Memory { get; }

    /// <summary>What is wrong with the ring, once a pop gave <see cref="PopResult.Broken"/>.</summary>
    public string? Defect { get; protected set; }

    /// <summary>Entries.</summary>
    public abstract int Size { get; }

    /// <summary>
    /// Where to go on, as vhost-user's GET_VRING_BASE has it: of a split ring the index of the next available buffer; of a packed ring its place,
    /// and in the high half that of the next answer.
    /// </summary>
    public abstract uint Position { get; }

    /// <summary>Takes the next chain.</summary>
    /// <param name="chain">Filled.</param>
    /// <returns>Whether there was one.</returns>
    public abstract PopResult TryPop(DescriptorChain chain);

    /// <summary>Gives a chain back. The driver sees it after <see cref="Publish"/>.</summary>
    /// <param name="chain">From <see cref="TryPop"/>; unchanged.</param>
    /// <param name="length">Bytes written into it.</param>
    public abstract void PushUsed(DescriptorChain chain, long length);

    /// <summary>Shows the driver all that was pushed.</summary>
    public abstract void Publish();

    /// <summary>Whether the driver wants a call for what was published since this was asked last.</summary>
    /// <returns>True to signal.</returns>
    public abstract bool ShouldCall();

    /// <summary>Asks the driver for kicks.</summary>
    /// <returns>False when buffers are there already, so that no kick would come.</returns>
    public abstract bool EnableKicks();

    /// <summary>Tells the driver that its buffers are seen without kicks.</summary>
    public abstract void DisableKicks();
}
