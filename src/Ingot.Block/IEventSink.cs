namespace Ingot.Block;

/// <summary>A node that wants to know what the layer above it is about to do (driver blkdebug). Told on the node's loop, right before the request.</summary>
public interface IEventSink
{
    /// <summary>Something is about to happen.</summary>
    /// <param name="eventName">One of <see cref="BlockEvents"/>.</param>
    void Signal(string eventName);
}
