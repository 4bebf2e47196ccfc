namespace Ingot.Io;

/// <summary>Where other threads leave work for a loop: a lock-free stack taken whole, and one wake-up for the first letter after the loop went to sleep.</summary>
internal sealed class Mailbox(Action wake)
{
    private IoContinuation? _head;
    private int _asleep;

    internal bool IsEmpty => Volatile.Read(ref _head) is null;

    /// <summary>Leaves a letter; false when the loop has ended and will never read it.</summary>
    internal bool Post(IoContinuation work)
    {
        IoContinuation? head;
        do
        {
            head = Volatile.Read(ref _head);
            if (head == Closed.Instance)
            {
                work.Next = null;
                return false;
            }

            work.Next = head;
        }
        while (Interlocked.CompareExchange(ref _head, work, head) != head);

        if (Interlocked.Exchange(ref _asleep, 0) == 1)
        {
            wake();
        }

        return true;
    }

    /// <summary>Reads the last letters and takes no more. The loop's last act.</summary>
    internal void Close()
    {
        do
        {
            Drain();
        }
        while (Interlocked.CompareExchange(ref _head, Closed.Instance, null) is not null);
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

    private sealed class Closed : IoContinuation
    {
        internal static readonly Closed Instance = new();

        protected internal override void Resume() => throw new InvalidOperationException("The loop has ended.");
    }
}
