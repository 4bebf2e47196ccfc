namespace Ingot.Io;

/// <summary>Counts operations in flight on one loop and lets one waiter wait for none.</summary>
public sealed class InFlightCounter
{
    private IoCompletionSource? _idle;

    /// <summary>Operations in flight.</summary>
    public int Count { get; private set; }

    /// <summary>One more.</summary>
    public void Enter() => Count++;

    /// <summary>One less; wakes the waiter at zero.</summary>
    public void Exit()
    {
        if (--Count == 0 && _idle is { } idle)
        {
            _idle = null;
            EventLoop.Current.Schedule(new Wakeup(idle));
        }
    }

    /// <summary>Waits until nothing is in flight.</summary>
    /// <returns>Completes at zero; only one waiter at a time.</returns>
    public IoTask WaitIdleAsync()
    {
        if (Count == 0)
        {
            return IoTask.Completed;
        }

        _idle = new IoCompletionSource();
        return _idle.Task;
    }
}
