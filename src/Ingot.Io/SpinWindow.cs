using System.Diagnostics;

namespace Ingot.Io;

/// <summary>
/// Decides how long a loop spins before it sleeps: as long as sleeps turn out shorter than the window it pays to spin; a few spins in vain close it,
/// so that an idle or slow peer costs nothing.
/// </summary>
internal sealed class SpinWindow(long maxNanoseconds)
{
    private const int MissesToClose = 4;
    private readonly long _maxTicks = maxNanoseconds * Stopwatch.Frequency / 1_000_000_000;
    private int _misses;

    internal bool IsOpen => _maxTicks > 0 && _misses < MissesToClose;

    internal long Ticks => _maxTicks;

    internal void Hit() => _misses = 0;

    internal void Miss() => _misses++;

    internal void Slept(long ticks)
    {
        // Work that came this soon is a peer at work: on a busy machine its answers only look late because it was not scheduled.
        if (ticks < 2 * _maxTicks)
        {
            _misses = 0;
        }
    }
}
