using Ingot.Io;

namespace Ingot.Drivers.BlkDebug;

/// <summary>
/// Keeps writes away from blocks that another request reads to change a part of them. A request that waits itself holds nobody up, so that the order among
/// those that wait is open, as with QEMU; what tests hold at breakpoints relies on it.
/// </summary>
internal sealed class BlockClaims
{
    private readonly List<Claim> _held = [];

    /// <summary>Claims a range.</summary>
    /// <param name="start">First byte.</param>
    /// <param name="end">First byte behind it.</param>
    /// <param name="alone">True when nobody else may write there meanwhile.</param>
    /// <returns>The claim, to be disposed on the same loop.</returns>
    internal async IoTask<Claim> TakeAsync(long start, long end, bool alone)
    {
        var mine = new Claim(this, start, end, alone);
        while (_held.Find(mine.Conflicts) is { } other)
        {
            await other.WaitReleased();
        }

        _held.Add(mine);
        return mine;
    }

    internal sealed class Claim(BlockClaims owner, long start, long end, bool alone) : IDisposable
    {
        private readonly long _start = start;
        private readonly long _end = end;
        private readonly bool _alone = alone;
        private readonly List<IoCompletionSource> _waiters = [];

        public void Dispose()
        {
            owner._held.Remove(this);
            foreach (IoCompletionSource waiter in _waiters)
            {
                waiter.SetResultLater();
            }

            _waiters.Clear();
        }

        internal bool Conflicts(Claim other) => (_alone || other._alone) && _start < other._end && other._start < _end;

        internal IoTask WaitReleased()
        {
            var waiter = new IoCompletionSource();
            _waiters.Add(waiter);
            return waiter.Task;
        }
    }
}
