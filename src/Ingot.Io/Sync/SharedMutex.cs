namespace Ingot.Io;

/// <summary>
/// Between coroutines of one loop: many hold a share of it, or one holds it whole, in order of arrival. Shares cost a field test while nobody waits.
/// </summary>
public sealed class SharedMutex
{
    private const int Whole = -1;

    private readonly Queue<(IoCompletionSource Source, bool IsShare)> _waiters = new();
    private int _shares;

    /// <summary>Waits for a share.</summary>
    /// <returns>Completes when the caller has it; call <see cref="UnlockShare"/> in a finally block.</returns>
    public IoTask LockShareAsync()
    {
        if (_shares == Whole || _waiters.Count > 0)
        {
            return WaitAsync(isShare: true);
        }

        _shares++;
        return IoTask.Completed;
    }

    /// <summary>Waits for the whole.</summary>
    /// <returns>Completes when the caller has it; call <see cref="Unlock"/> in a finally block.</returns>
    public IoTask LockAsync()
    {
        if (_shares != 0 || _waiters.Count > 0)
        {
            return WaitAsync(isShare: false);
        }

        _shares = Whole;
        return IoTask.Completed;
    }

    /// <summary>Gives a share back.</summary>
    public void UnlockShare()
    {
        _shares--;
        Grant();
    }

    /// <summary>Gives the whole back.</summary>
    public void Unlock()
    {
        _shares = 0;
        Grant();
    }

    private IoTask WaitAsync(bool isShare)
    {
        var waiter = new IoCompletionSource();
        _waiters.Enqueue((waiter, isShare));
        return waiter.Task;
    }

    private void Grant()
    {
        while (_waiters.TryPeek(out (IoCompletionSource Source, bool IsShare) next) && (next.IsShare ? _shares != Whole : _shares == 0))
        {
            _waiters.Dequeue();
            _shares = next.IsShare ? _shares + 1 : Whole;
            EventLoop.Current.Schedule(new Wakeup(next.Source));
        }
    }
}
