using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>Operations that run at the same time. All of them are waited for, whatever fails: their buffers are in use until then.</summary>
internal sealed class TaskBatch(int capacity)
{
    private readonly IoTask[] _tasks = new IoTask[capacity];
    private int _first;
    private int _count;
    private Exception? _error;

    internal bool IsFull => _count == _tasks.Length;

    /// <summary>Adds an operation that has begun; there must be room.</summary>
    internal void Add(IoTask task)
    {
        _tasks[(_first + _count) % _tasks.Length] = task;
        _count++;
    }

    /// <summary>Waits for the oldest operation. A failure is kept for <see cref="WaitAllAsync"/>.</summary>
    internal async IoTask WaitOneAsync()
    {
        IoTask task = _tasks[_first];
        _tasks[_first] = default;
        _first = (_first + 1) % _tasks.Length;
        _count--;
        try
        {
            await task;
        }
        catch (Exception e)
        {
            _error ??= e;
        }
    }

    /// <summary>Waits for all and throws the first failure.</summary>
    internal async IoTask WaitAllAsync()
    {
        while (_count > 0)
        {
            await WaitOneAsync();
        }

        if (_error is { } error)
        {
            _error = null;
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(error);
        }
    }
}
