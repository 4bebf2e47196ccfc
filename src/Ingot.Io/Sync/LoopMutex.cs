namespace Ingot.Io;

/// <summary>Mutual exclusion between coroutines of one loop, in order of arrival. Costs a field test when free.</summary>
public sealed class LoopMutex
{
    private readonly Queue<IoCompletionSource> _waiters = new();
    private bool _held;

    /// <summary>True while somebody holds it.</summary>
    public bool IsHeld => _held;

    /// <summary>Waits for the mutex.</summary>
    /// <returns>Completes when the caller holds it; call <see cref="Unlock"/> in a finally block.</returns>
    public IoTask LockAsync()
    {
        if (!_held)
        {
            _held = true;
            return IoTask.Completed;
        }

        var waiter = new IoCompletionSource();
        _waiters.Enqueue(waiter);
        return waiter.Task;
    }

    /// <summary>Hands the mutex to the next waiter, which runs in a later turn.</summary>
    public void Unlock()
    {
        if (_waiters.TryDequeue(out IoCompletionSource? next))
        {
            next.SetResultLater();
        }
        else
        {
            _held = false;
        }
    }
}

/// <summary>Completes a promise from the ready list.</summary>
internal sealed class Wakeup(IoCompletionSource source) : IoContinuation
{
    protected internal override void Resume() => source.SetResult();
}
