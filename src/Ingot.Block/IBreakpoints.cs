namespace Ingot.Block;

/// <summary>A node that can hold requests back where its user says so (driver blkdebug). Members are for the node's loop.</summary>
public interface IBreakpoints
{
    /// <summary>Holds the next request that comes to an event.</summary>
    /// <param name="eventName">The event: "cow_write".</param>
    /// <param name="tag">What the request is called from then on.</param>
    /// <exception cref="Linux.ErrnoException">EINVAL: there is no such event.</exception>
    void SetBreakpoint(string eventName, string tag);

    /// <summary>Takes a breakpoint away; a request that it holds goes on.</summary>
    /// <param name="tag">The request's name.</param>
    /// <returns>False when there is none.</returns>
    bool RemoveBreakpoint(string tag);

    /// <summary>Lets a held request go on.</summary>
    /// <param name="tag">The request's name.</param>
    /// <returns>False when there is none.</returns>
    bool Resume(string tag);

    /// <summary>True while a request is held.</summary>
    /// <param name="tag">The request's name.</param>
    /// <returns>Whether it is held.</returns>
    bool IsSuspended(string tag);
}
