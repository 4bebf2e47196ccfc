namespace Ingot.Io;

/// <summary>Where other threads leave work for a loop: a lock-free stack taken whole, and one wake-up for the first letter after the loop went to sleep.</summary>
internal sealed class Mailbox(Action wake)
{
    private IoContinuation? _head;
    private int _asleep;

    internal bool IsEmpty => Volatile.Read(ref _head) is null;

    internal void Post(IoContinuation work)
    {
        IoContinuation? head;
        do
        {
            head = Volatile.Read(ref _head);
            work.Next = head;
        }
        while (Interlocked.CompareExchange(ref _head, work, head) != head);

        if (Interlocked.Exchange(ref _asleep, 0) == 1)
        {
            wake();
        }
    }

    /// <summary>Announces that the loop sleeps from here on; false when letters are there already.</summary>
    internal bool PrepareToSleep()
    {
        Interlocked.Exchange(ref _asleep, 1);
        return IsEmpty;
    }

    internal void Drain()
    {
        if (IsEmpty)
        {
            return;
        }

        IoContinuation? stack = Interlocked.Exchange(ref _head, null);
        IoContinuation? ordered = null;
        while (stack is not null)
        {
            IoContinuation? next = stack.Next;
            stack.Next = ordered;
            ordered = stack;
            stack = next;
        }

        while (ordered is not null)
        {
            IoContinuation work = ordered;
            ordered = work.Next;
            work.Next = null;
            work.Resume();
        }
    }
}
