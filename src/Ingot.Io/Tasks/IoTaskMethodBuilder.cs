using System.ComponentModel;
using System.Runtime.CompilerServices;

namespace Ingot.Io;

/// <summary>
/// Builds <c>async IoTask</c> methods for the compiler. The state machine moves into a pooled box at its first suspension;
/// the constraint to <see cref="ILoopAwaiter"/> is what makes leaving the loop a compile error.
/// </summary>
[EditorBrowsable(EditorBrowsableState.Never)]
public struct IoTaskMethodBuilder
{
    private IoPromise? _promise;
    private ushort _version;

    /// <summary>For the compiler.</summary>
    public readonly IoTask Task => _promise is null ? default : new IoTask(_promise, _version);

    /// <summary>For the compiler.</summary>
    /// <returns>A new builder.</returns>
    public static IoTaskMethodBuilder Create() => default;

    /// <summary>For the compiler.</summary>
    /// <typeparam name="TStateMachine">The method's state machine.</typeparam>
    /// <param name="stateMachine">The method's state machine.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Start<TStateMachine>(ref TStateMachine stateMachine)
        where TStateMachine : IAsyncStateMachine => stateMachine.MoveNext();

    /// <summary>For the compiler; not used.</summary>
    /// <param name="stateMachine">Ignored.</param>
    public readonly void SetStateMachine(IAsyncStateMachine stateMachine)
    {
    }

    /// <summary>For the compiler.</summary>
    public readonly void SetResult() => _promise?.Complete();

    /// <summary>For the compiler.</summary>
    /// <param name="exception">What the method threw.</param>
    public void SetException(Exception exception)
    {
        if (_promise is null)
        {
            var source = new IoCompletionSource();
            _promise = source;
            _version = source.Version;
        }

        _promise.Fail(exception);
    }

    /// <summary>For the compiler.</summary>
    /// <typeparam name="TAwaiter">What is awaited.</typeparam>
    /// <typeparam name="TStateMachine">The method's state machine.</typeparam>
    /// <param name="awaiter">What is awaited.</param>
    /// <param name="stateMachine">The method's state machine.</param>
    public void AwaitOnCompleted<TAwaiter, TStateMachine>(ref TAwaiter awaiter, ref TStateMachine stateMachine)
        where TAwaiter : ILoopAwaiter
        where TStateMachine : IAsyncStateMachine => AwaitUnsafeOnCompleted(ref awaiter, ref stateMachine);

    /// <summary>For the compiler.</summary>
    /// <typeparam name="TAwaiter">What is awaited.</typeparam>
    /// <typeparam name="TStateMachine">The method's state machine.</typeparam>
    /// <param name="awaiter">What is awaited.</param>
    /// <param name="stateMachine">The method's state machine.</param>
    public void AwaitUnsafeOnCompleted<TAwaiter, TStateMachine>(ref TAwaiter awaiter, ref TStateMachine stateMachine)
        where TAwaiter : ILoopAwaiter
        where TStateMachine : IAsyncStateMachine
    {
        if (_promise is null)
        {
            IoBox<TStateMachine> box = IoBox<TStateMachine>.Rent();
            _promise = box;
            _version = box.Version;
            box.StateMachine = stateMachine; // copies this builder too: the promise must be set before
        }

        awaiter.OnCompleted(_promise);
    }
}

/// <summary>Builds <c>async IoTask&lt;T&gt;</c> methods for the compiler; see <see cref="IoTaskMethodBuilder"/>.</summary>
/// <typeparam name="T">The type of the value.</typeparam>
[EditorBrowsable(EditorBrowsableState.Never)]
public struct IoTaskMethodBuilder<T>
{
    private IoPromise<T>? _promise;
    private ushort _version;
    private T _result;

    /// <summary>For the compiler.</summary>
    public readonly IoTask<T> Task => _promise is null ? new IoTask<T>(_result) : new IoTask<T>(_promise, _version);

    /// <summary>For the compiler.</summary>
    /// <returns>A new builder.</returns>
    public static IoTaskMethodBuilder<T> Create() => default;

    /// <summary>For the compiler.</summary>
    /// <typeparam name="TStateMachine">The method's state machine.</typeparam>
    /// <param name="stateMachine">The method's state machine.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Start<TStateMachine>(ref TStateMachine stateMachine)
        where TStateMachine : IAsyncStateMachine => stateMachine.MoveNext();

    /// <summary>For the compiler; not used.</summary>
    /// <param name="stateMachine">Ignored.</param>
    public readonly void SetStateMachine(IAsyncStateMachine stateMachine)
    {
    }

    /// <summary>For the compiler.</summary>
    /// <param name="result">What the method returned.</param>
    public void SetResult(T result)
    {
        if (_promise is null)
        {
            _result = result;
        }
        else
        {
            _promise.Complete(result);
        }
    }

    /// <summary>For the compiler.</summary>
    /// <param name="exception">What the method threw.</param>
    public void SetException(Exception exception)
    {
        if (_promise is null)
        {
            var source = new IoCompletionSource<T>();
            _promise = source;
            _version = source.Version;
        }

        _promise.Fail(exception);
    }

    /// <summary>For the compiler.</summary>
    /// <typeparam name="TAwaiter">What is awaited.</typeparam>
    /// <typeparam name="TStateMachine">The method's state machine.</typeparam>
    /// <param name="awaiter">What is awaited.</param>
    /// <param name="stateMachine">The method's state machine.</param>
    public void AwaitOnCompleted<TAwaiter, TStateMachine>(ref TAwaiter awaiter, ref TStateMachine stateMachine)
        where TAwaiter : ILoopAwaiter
        where TStateMachine : IAsyncStateMachine => AwaitUnsafeOnCompleted(ref awaiter, ref stateMachine);

    /// <summary>For the compiler.</summary>
    /// <typeparam name="TAwaiter">What is awaited.</typeparam>
    /// <typeparam name="TStateMachine">The method's state machine.</typeparam>
    /// <param name="awaiter">What is awaited.</param>
    /// <param name="stateMachine">The method's state machine.</param>
    public void AwaitUnsafeOnCompleted<TAwaiter, TStateMachine>(ref TAwaiter awaiter, ref TStateMachine stateMachine)
        where TAwaiter : ILoopAwaiter
        where TStateMachine : IAsyncStateMachine
    {
        if (_promise is null)
        {
            IoBox<TStateMachine, T> box = IoBox<TStateMachine, T>.Rent();
            _promise = box;
            _version = box.Version;
            box.StateMachine = stateMachine;
        }

        awaiter.OnCompleted(_promise);
    }
}
