using System.Diagnostics;

namespace Ingot.Io;

/// <summary>
/// Decides how long a loop spins before it sleeps: as long as sleeps turn out shorter than the window it pays to spin; a few spins in vain close it,
/// so that an idle or slow peer costs nothing.
/// </summary>
/// <param name="maxNanoseconds">The window; 0 never opens.</param>
/// <param name="patience">How many windows a sleep may take to count as short. More than one for a peer's answers: on a busy machine they look late
/// because the peer was not scheduled.</param>
internal sealed class SpinWindow(long maxNanoseconds, int patience)
{
    private const int MissesToClose = 4;
    private readonly long _maxTicks = maxNanoseconds * Stopwatch.Frequency / 1_000_000_000;
    private readonly long _shortTicks = patience * maxNanoseconds * Stopwatch.Frequency / 1_000_000_000;
    private int _misses;

    internal bool IsOpen => _maxTicks > 0 && _misses < MissesToClose;

    internal long Ticks => _maxTicks;

    internal void Hit() => _misses = 0;

    internal void Miss() => _misses++;

    // True for work that came soon enough to spin for it the next time.
    internal bool Slept(long ticks)
    {
        bool isShort = ticks < _shortTicks;
        _misses = isShort ? 0 : _misses;
        return isShort;
    }
}
