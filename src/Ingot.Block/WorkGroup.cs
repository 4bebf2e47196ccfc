using System.Runtime.ExceptionServices;
using Ingot.Io;

namespace Ingot.Block;

/// <summary>Runs several coroutines of the same kind on one loop and waits for all of them.</summary>
public static class WorkGroup
{
    /// <summary>Starts workers and completes when all have ended.</summary>
    /// <param name="count">How many.</param>
    /// <param name="worker">One worker.</param>
    /// <returns>The task; fails with the first failure of any worker.</returns>
    public static async IoTask RunAsync(int count, Func<IoTask> worker)
    {
        var state = new State { Running = count };
        IoTask done = state.Done.Task;
        for (int i = 0; i < count; i++)
        {
            GuardAsync(worker, state).Spawn();
        }

        await done;
        if (state.Error is { } error)
        {
            ExceptionDispatchInfo.Throw(error);
        }
    }

    private static async IoTask GuardAsync(Func<IoTask> worker, State state)
    {
        try
        {
            await worker();
        }
        catch (Exception e)
        {
            state.Error ??= e;
        }

        if (--state.Running == 0)
        {
            state.Done.SetResult();
        }
    }

    private sealed class State
    {
        internal int Running { get; set; }

        internal Exception? Error { get; set; }

        internal IoCompletionSource Done { get; } = new();
    }
}
