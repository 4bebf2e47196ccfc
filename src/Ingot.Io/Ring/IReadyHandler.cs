namespace Ingot.Io;

/// <summary>Gets told when a watched doorbell rang; see <see cref="IoRing.Watch"/>.</summary>
public interface IReadyHandler
{
    /// <summary>The descriptor was signalled, once or more since the last call. Runs on the loop.</summary>
    void OnReady();
}
