using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using Ingot.Linux;

namespace Ingot.Io;

/// <summary>
/// The source of one <see cref="IoTask"/>: completed once, awaited once, then recycled into the pool that it came from.
/// Belongs to one loop: every member is called on that loop's thread.
/// </summary>
public abstract class IoPromise : IoContinuation
{
    private IoContinuation? _waiter;
    private Exception? _error;
    private Errno _errno;
    private bool _completed;
    private ushort _version;

    /// <summary>The task that completes with this promise. Take it before completion can happen.</summary>
    public IoTask Task => new(this, _version);

    internal ushort Version => _version;

    internal bool IsCompleted(ushort version)
    {
        CheckVersion(version);
        return _completed;
    }

    internal void OnCompleted(ushort version, IoContinuation waiter)
    {
        CheckVersion(version);
        Debug.Assert(_waiter is null, "An IoTask is awaited once.");
        _waiter = waiter;
    }

    /// <summary>Only coroutines are resumed; other promises are never put into a list.</summary>
    protected internal override void Resume() => throw new InvalidOperationException("This promise is no coroutine.");

    /// <summary>Ends the wait: recycles the promise, and throws if it failed.</summary>
    internal void Consume(ushort version)
    {
        CheckVersion(version);
        Exception? error = _error ?? (_errno == Errno.None ? null : Describe(_errno));
        Recycle();
        if (error is not null)
        {
            ExceptionDispatchInfo.Throw(error);
        }
    }

    /// <summary>Ends the wait without throwing for a failure that has an error number.</summary>
    internal Errno ConsumeStatus(ushort version)
    {
        CheckVersion(version);
        Exception? error = _error;
        Errno errno = _errno;
        Recycle();
        if (error is null)
        {
            return errno;
        }

        if (error is not ErrnoException known)
        {
            ExceptionDispatchInfo.Throw(error);
            return default;
        }

        return known.Errno;
    }

    /// <summary>Completes and resumes the waiter at once.</summary>
    protected internal void Complete()
    {
        Debug.Assert(!_completed, "A promise completes once.");
        _completed = true;
        if (_waiter is { } waiter)
        {
            _waiter = null;
            waiter.Resume();
        }
    }

    /// <summary>Completes with a failure.</summary>
    /// <param name="error">Thrown at the waiter.</param>
    protected internal void Fail(Exception error)
    {
        _error = error;
        Complete();
    }

    /// <summary>Completes with an error number; the exception is only made if the waiter needs one.</summary>
    /// <param name="errno">The kernel's error number.</param>
    protected void Fail(Errno errno)
    {
        _errno = errno;
        Complete();
    }

    /// <summary>Makes the exception for a failure given by number.</summary>
    /// <param name="errno">The kernel's error number.</param>
    /// <returns>The exception that the waiter gets.</returns>
    protected virtual Exception Describe(Errno errno) => ErrnoException.For(errno, "I/O failed");

    /// <summary>Back to the pool; overriders call <see cref="Reset"/> first.</summary>
    protected abstract void Recycle();

    /// <summary>Forgets the outcome and makes tasks of this use invalid.</summary>
    protected void Reset()
    {
        _error = null;
        _errno = Errno.None;
        _completed = false;
        _version++;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void CheckVersion(ushort version)
    {
        if (version != _version)
        {
            ThrowStale();
        }
    }

    private static void ThrowStale() => throw new InvalidOperationException("An IoTask was awaited twice.");
}

/// <summary>A promise with a value.</summary>
/// <typeparam name="T">The type of the value.</typeparam>
public abstract class IoPromise<T> : IoPromise
{
    private T _result = default!;

    /// <summary>The task that completes with this promise's value.</summary>
    public IoTask<T> ValueTask => new(this, Version);

    internal T ConsumeValue(ushort version)
    {
        T result = _result;
        Consume(version);
        return result;
    }

    /// <summary>Completes with a value.</summary>
    /// <param name="result">The value.</param>
    protected internal void Complete(T result)
    {
        _result = result;
        Complete();
    }
}

/// <summary>A promise that other code completes; not pooled. For rare waits: events, connections, tests.</summary>
public sealed class IoCompletionSource : IoPromise
{
    private bool _done;

    /// <summary>True once completed or failed.</summary>
    public bool IsDone => _done;

    /// <summary>Completes and resumes the waiter at once.</summary>
    public void SetResult()
    {
        _done = true;
        Complete();
    }

    /// <summary>Completes from the ready list, once whoever runs now has gone on as far as it gets.</summary>
    public void SetResultLater() => EventLoop.Current.Schedule(new Wakeup(this));

    /// <summary>Fails the waiter.</summary>
    /// <param name="error">Thrown at the waiter.</param>
    public void SetException(Exception error)
    {
        _done = true;
        Fail(error);
    }

    /// <inheritdoc/>
    protected override void Recycle() => Reset();
}

/// <summary>A promise with a value that other code completes; not pooled.</summary>
/// <typeparam name="T">The type of the value.</typeparam>
public sealed class IoCompletionSource<T> : IoPromise<T>
{
    /// <summary>True once completed or failed.</summary>
    public bool IsDone { get; private set; }

    /// <summary>Completes and resumes the waiter at once.</summary>
    /// <param name="result">The value.</param>
    public void SetResult(T result)
    {
        IsDone = true;
        Complete(result);
    }

    /// <summary>Fails the waiter.</summary>
    /// <param name="error">Thrown at the waiter.</param>
    public void SetException(Exception error)
    {
        IsDone = true;
        Fail(error);
    }

    /// <inheritdoc/>
    protected override void Recycle() => Reset();
}
