using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>Forgets from time to time what caches hold that nobody has asked for since the last time, so that a server at rest needs little memory.</summary>
/// <param name="interval">From one time to the next; zero never cleans.</param>
/// <param name="caches">The caches.</param>
internal sealed class CacheCleaner(TimeSpan interval, params TableCache[] caches)
{
    // Closing may happen on another loop than requests and timers.
    private readonly Lock _gate = new();
    private bool _isRunning;
    private bool _isStopped;

    /// <summary>The loop that the caches belong to now; null for the one that opened the image.</summary>
    internal Func<EventLoop?> Home { get; set; } = () => null;

    /// <summary>Something is in the caches.</summary>
    internal void Start()
    {
        if (!_isRunning && interval > TimeSpan.Zero)
        {
            _isRunning = true;
            RunAsync().Spawn();
        }
    }

    /// <summary>Ends the cleaning; no cleaning is under way when this returns.</summary>
    internal void Stop()
    {
        lock (_gate)
        {
            _isStopped = true;
            caches = [];
        }
    }

    private async IoTask RunAsync()
    {
        do
        {
            await EventLoop.Current.DelayAsync(interval);

            // Between opening and the first export the image changes its loop.
            if (Home() is { } home && home != EventLoop.Current)
            {
                home.Post(() => RunAsync().Spawn());
                return;
            }
        }
        while (TryClean());
    }

    // False when nothing is left to wait for.
    private bool TryClean()
    {
        lock (_gate)
        {
            _isRunning = false;
            foreach (TableCache cache in caches)
            {
                cache.Clean();
                _isRunning |= cache.Count > 0;
            }

            return _isRunning && !_isStopped;
        }
    }
}
