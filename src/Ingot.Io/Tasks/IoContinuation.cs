namespace Ingot.Io;

/// <summary>Something that a loop can run: a suspended coroutine, a posted call, a completed ring operation. Linked in place, so queueing allocates nothing.</summary>
public abstract class IoContinuation
{
    /// <summary>The next in the list that holds this one; a continuation is in at most one list.</summary>
    internal IoContinuation? Next;

    /// <summary>Runs on the loop that owns this continuation.</summary>
    protected internal abstract void Resume();
}
