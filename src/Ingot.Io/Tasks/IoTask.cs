using System.Runtime.CompilerServices;
using Ingot.Linux;

namespace Ingot.Io;

/// <summary>Marks the awaiters that an <c>async IoTask</c> method may wait for: those that resume on the loop. Awaiting anything else does not compile.</summary>
public interface ILoopAwaiter : ICriticalNotifyCompletion
{
    /// <summary>Registers the coroutine to resume.</summary>
    /// <param name="waiter">Resumed once, on the loop's thread.</param>
    void OnCompleted(IoContinuation waiter);
}

/// <summary>
/// An operation bound to one event loop: awaited exactly once, on that loop's thread. The default value is a completed task.
/// Costs nothing when it completes at once; otherwise its state comes from loop-local pools.
/// </summary>
[AsyncMethodBuilder(typeof(IoTaskMethodBuilder))]
public readonly struct IoTask
{
    private readonly IoPromise? _promise;
    private readonly ushort _version;

    internal IoTask(IoPromise promise, ushort version)
    {
        _promise = promise;
        _version = version;
    }

    /// <summary>A task that has completed.</summary>
    public static IoTask Completed => default;

    /// <summary>True when awaiting would not suspend.</summary>
    public bool IsCompleted => _promise is null || _promise.IsCompleted(_version);

    /// <summary>A task that has failed.</summary>
    /// <param name="error">Thrown at the waiter.</param>
    /// <returns>The task.</returns>
    public static IoTask FromException(Exception error)
    {
        var source = new IoCompletionSource();
        IoTask task = source.Task;
        source.SetException(error);
        return task;
    }

    /// <summary>For the compiler.</summary>
    /// <returns>The awaiter.</returns>
    public Awaiter GetAwaiter() => new(this);

    /// <summary>Awaits without throwing: <c>Errno e = await node.ReadAsync(...).Status()</c>. A failure without an error number still throws.</summary>
    /// <returns>Something to await for the error number.</returns>
    public StatusAwaitable Status() => new(this);

    /// <summary>Lets the operation run on its own. A failure of it is a defect and ends the process.</summary>
    public void Spawn()
    {
        if (_promise is null)
        {
            return;
        }

        if (_promise.IsCompleted(_version))
        {
            Detached.Finish(this);
        }
        else
        {
            _promise.OnCompleted(_version, Detached.For(this));
        }
    }

    internal void OnCompleted(IoContinuation waiter) => _promise!.OnCompleted(_version, waiter);

    internal void Consume() => _promise?.Consume(_version);

    internal Errno ConsumeStatus() => _promise is null ? Errno.None : _promise.ConsumeStatus(_version);

    /// <summary>Awaiter of an <see cref="IoTask"/>.</summary>
    /// <param name="task">The task.</param>
    public readonly struct Awaiter(IoTask task) : ILoopAwaiter
    {
        /// <summary>True when no suspension is needed.</summary>
        public bool IsCompleted => task.IsCompleted;

        /// <summary>Ends the wait; throws what the operation threw.</summary>
        public void GetResult() => task.Consume();

        /// <inheritdoc/>
        public void OnCompleted(IoContinuation waiter) => task.OnCompleted(waiter);

        /// <inheritdoc/>
        public void OnCompleted(Action continuation) => task.OnCompleted(new ActionContinuation(continuation));

        /// <inheritdoc/>
        public void UnsafeOnCompleted(Action continuation) => OnCompleted(continuation);
    }

    /// <summary>See <see cref="Status"/>.</summary>
    /// <param name="task">The task.</param>
    public readonly struct StatusAwaitable(IoTask task)
    {
        /// <summary>For the compiler.</summary>
        /// <returns>The awaiter.</returns>
        public StatusAwaiter GetAwaiter() => new(task);
    }

    /// <summary>Awaiter that gives an error number.</summary>
    /// <param name="task">The task.</param>
    public readonly struct StatusAwaiter(IoTask task) : ILoopAwaiter
    {
        /// <summary>True when no suspension is needed.</summary>
        public bool IsCompleted => task.IsCompleted;

        /// <summary>Ends the wait.</summary>
        /// <returns>The error number, <see cref="Errno.None"/> for success.</returns>
        public Errno GetResult() => task.ConsumeStatus();

        /// <inheritdoc/>
        public void OnCompleted(IoContinuation waiter) => task.OnCompleted(waiter);

        /// <inheritdoc/>
        public void OnCompleted(Action continuation) => task.OnCompleted(new ActionContinuation(continuation));

        /// <inheritdoc/>
        public void UnsafeOnCompleted(Action continuation) => OnCompleted(continuation);
    }

    // Pooled per thread: an export spawns a coroutine for every request.
    private sealed class Detached : IoContinuation
    {
        [ThreadStatic]
        private static Detached? _pool;

        private IoTask _task;

        internal static Detached For(IoTask task)
        {
            Detached waiter = _pool ?? new Detached();
            _pool = (Detached?)waiter.Next;
            waiter.Next = null;
            waiter._task = task;
            return waiter;
        }

        protected internal override void Resume()
        {
            IoTask task = _task;
            _task = default;
            Next = _pool;
            _pool = this;
            Finish(task);
        }

        internal static void Finish(IoTask task)
        {
            try
            {
                task.Consume();
            }
            catch (Exception e)
            {
                Environment.FailFast($"A spawned operation failed: {e}", e);
            }
        }
    }
}

/// <summary>An operation with a value; see <see cref="IoTask"/>.</summary>
/// <typeparam name="T">The type of the value.</typeparam>
[AsyncMethodBuilder(typeof(IoTaskMethodBuilder<>))]
public readonly struct IoTask<T>
{
    private readonly IoPromise<T>? _promise;
    private readonly T _result;
    private readonly ushort _version;

    internal IoTask(IoPromise<T> promise, ushort version)
    {
        _promise = promise;
        _version = version;
        _result = default!;
    }

    /// <summary>A task that has completed.</summary>
    /// <param name="result">Its value.</param>
    public IoTask(T result)
    {
        _result = result;
        _promise = null;
        _version = 0;
    }

    /// <summary>True when awaiting would not suspend.</summary>
    public bool IsCompleted => _promise is null || _promise.IsCompleted(_version);

    /// <summary>A task that has failed.</summary>
    /// <param name="error">Thrown at the waiter.</param>
    /// <returns>The task.</returns>
    public static IoTask<T> FromException(Exception error)
    {
        var source = new IoCompletionSource<T>();
        IoTask<T> task = source.ValueTask;
        source.SetException(error);
        return task;
    }

    /// <summary>For the compiler.</summary>
    /// <returns>The awaiter.</returns>
    public Awaiter GetAwaiter() => new(this);

    /// <summary>The same operation without its value.</summary>
    /// <returns>A task that stands for this one; await only one of the two.</returns>
    public IoTask AsTask() => _promise is null ? default : new IoTask(_promise, _version);

    internal void OnCompleted(IoContinuation waiter) => _promise!.OnCompleted(_version, waiter);

    internal T Consume() => _promise is null ? _result : _promise.ConsumeValue(_version);

    /// <summary>Awaiter of an <see cref="IoTask{T}"/>.</summary>
    /// <param name="task">The task.</param>
    public readonly struct Awaiter(IoTask<T> task) : ILoopAwaiter
    {
        /// <summary>True when no suspension is needed.</summary>
        public bool IsCompleted => task.IsCompleted;

        /// <summary>Ends the wait.</summary>
        /// <returns>The value; throws what the operation threw.</returns>
        public T GetResult() => task.Consume();

        /// <inheritdoc/>
        public void OnCompleted(IoContinuation waiter) => task.OnCompleted(waiter);

        /// <inheritdoc/>
        public void OnCompleted(Action continuation) => task.OnCompleted(new ActionContinuation(continuation));

        /// <inheritdoc/>
        public void UnsafeOnCompleted(Action continuation) => OnCompleted(continuation);
    }
}

/// <summary>A call to run on a loop; for rare paths, since it allocates.</summary>
internal sealed class ActionContinuation(Action action) : IoContinuation
{
    protected internal override void Resume() => action();
}
