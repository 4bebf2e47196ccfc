namespace Ingot.Io;

/// <summary>
/// Work for the thread pool that is done again and again without allocating: <see cref="Offload"/> for the data path. One run at a time.
/// </summary>
public abstract class OffloadedWork : IoPromise, IThreadPoolWorkItem
{
    private EventLoop? _loop;
    private Exception? _failure;

    /// <summary>Does the work on the thread pool.</summary>
    /// <returns>Completes on the calling loop; must have been awaited before the next run.</returns>
    public IoTask RunAsync()
    {
        _loop = EventLoop.Current;
        IoTask task = Task;
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        return task;
    }

    void IThreadPoolWorkItem.Execute()
    {
        try
        {
            Work();
        }
        catch (Exception e)
        {
            _failure = e;
        }

        _loop!.Post(this);
    }

    /// <summary>The work; touches nothing that a loop owns.</summary>
    protected abstract void Work();

    /// <inheritdoc/>
    protected internal override void Resume()
    {
        if (_failure is { } failure)
        {
            _failure = null;
            Fail(failure);
        }
        else
        {
            Complete();
        }
    }

    /// <inheritdoc/>
    protected override void Recycle() => Reset();
}
