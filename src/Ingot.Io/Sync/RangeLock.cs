namespace Ingot.Io;

/// <summary>Exclusive locks on byte ranges between coroutines of one loop: overlapping ranges wait for each other in order of arrival, others do not.</summary>
public sealed class RangeLock
{
    private readonly LinkedList<Held> _ranges = new();

    /// <summary>True when no range is held or waited for.</summary>
    public bool IsFree => _ranges.Count == 0;

    /// <summary>Locks a range.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The lock, to be disposed on the same loop.</returns>
    public async IoTask<Held> LockAsync(long offset, long length)
    {
        var mine = new Held(this, offset, length);
        LinkedListNode<Held>? other = _ranges.First;
        LinkedListNode<Held> node = _ranges.AddLast(mine);
        while (other is not null && other != node)
        {
            // Waits for the first conflict only; after it, looks at what is left of the older ones again.
            if (other.Value.Overlaps(offset, length))
            {
                await other.Value.WaitReleased();
                other = _ranges.First;
                continue;
            }

            other = other.Next;
        }

        return mine;
    }

    /// <summary>A locked range.</summary>
    public sealed class Held : IDisposable
    {
        private readonly RangeLock _owner;
        private readonly long _offset;
        private readonly long _length;
        private List<IoCompletionSource>? _waiters;

        internal Held(RangeLock owner, long offset, long length)
        {
            _owner = owner;
            _offset = offset;
            _length = length;
        }

        /// <summary>Unlocks; waiters run in a later turn.</summary>
        public void Dispose()
        {
            _owner._ranges.Remove(this);
            foreach (IoCompletionSource waiter in _waiters ?? [])
            {
                EventLoop.Current.Schedule(new Wakeup(waiter));
            }

            _waiters = null;
        }

        internal bool Overlaps(long offset, long length) => offset < _offset + _length && _offset < offset + length;

        internal IoTask WaitReleased()
        {
            var waiter = new IoCompletionSource();
            (_waiters ??= []).Add(waiter);
            return waiter.Task;
        }
    }
}
