using Ingot.Io;

namespace Ingot.Block;

/// <summary>Numbers handed out in order, and turns that come in the same order: what a queue at a counter is.</summary>
internal sealed class ClaimOrder
{
    private readonly Dictionary<long, IoCompletionSource> _waiting = [];
    private long _last;
    private long _turn;
    private bool _open;

    /// <summary>Takes a number.</summary>
    /// <param name="outside">True for a number that will not wait for its turn.</param>
    /// <returns>The number.</returns>
    internal long Take(bool outside) => outside ? -1 : _last++;

    /// <summary>Waits for the turn of a number.</summary>
    /// <param name="number">The number.</param>
    /// <returns>Completes when all lower numbers have called <see cref="Next"/>.</returns>
    internal IoTask WaitAsync(long number)
    {
        if (_open || number == _turn)
        {
            return IoTask.Completed;
        }

        var waiter = new IoCompletionSource();
        _waiting.Add(number, waiter);
        return waiter.Task;
    }

    /// <summary>Ends the turn of the number that has it.</summary>
    internal void Next()
    {
        _turn++;
        if (_waiting.Remove(_turn, out IoCompletionSource? waiter))
        {
            EventLoop.Current.Schedule(new Released(waiter));
        }
    }

    /// <summary>Lets everybody through, now and later: the order does not matter any more.</summary>
    internal void Open()
    {
        _open = true;
        foreach (IoCompletionSource waiter in _waiting.Values)
        {
            EventLoop.Current.Schedule(new Released(waiter));
        }

        _waiting.Clear();
    }

    private sealed class Released(IoCompletionSource waiter) : IoContinuation
    {
        protected override void Resume() => waiter.SetResult();
    }
}
