using System.Runtime.CompilerServices;

namespace Ingot.Io;

/// <summary>A suspended <c>async IoTask</c> method: its state machine, and the promise of its task. Pooled per thread, that is, per loop.</summary>
internal sealed class IoBox<TStateMachine> : IoPromise
    where TStateMachine : IAsyncStateMachine
{
    [ThreadStatic]
    private static IoContinuation? _pool;

    internal TStateMachine StateMachine = default!;

    internal static IoBox<TStateMachine> Rent()
    {
        if (_pool is not IoBox<TStateMachine> box)
        {
            return new IoBox<TStateMachine>();
        }

        _pool = box.Next;
        box.Next = null;
        return box;
    }

    protected internal override void Resume() => StateMachine.MoveNext();

    protected override void Recycle()
    {
        Reset();
        StateMachine = default!;
        Next = _pool;
        _pool = this;
    }
}

/// <summary>The same for <c>async IoTask&lt;T&gt;</c>.</summary>
internal sealed class IoBox<TStateMachine, T> : IoPromise<T>
    where TStateMachine : IAsyncStateMachine
{
    [ThreadStatic]
    private static IoContinuation? _pool;

    internal TStateMachine StateMachine = default!;

    internal static IoBox<TStateMachine, T> Rent()
    {
        if (_pool is not IoBox<TStateMachine, T> box)
        {
            return new IoBox<TStateMachine, T>();
        }

        _pool = box.Next;
        box.Next = null;
        return box;
    }

    protected internal override void Resume() => StateMachine.MoveNext();

    protected override void Recycle()
    {
        Reset();
        StateMachine = default!;
        Next = _pool;
        _pool = this;
    }
}
