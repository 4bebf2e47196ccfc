namespace Ingot.Io;

/// <summary>The single door to the thread pool: compression, encryption and system calls that block.</summary>
public static class Offload
{
    /// <summary>Runs work on the thread pool and completes on the calling loop.</summary>
    /// <typeparam name="T">The type of the value.</typeparam>
    /// <param name="work">Touches nothing that a loop owns.</param>
    /// <returns>Completes on the calling loop.</returns>
    public static IoTask<T> Run<T>(Func<T> work)
    {
        var job = new OffloadedCall<T>(EventLoop.Current, work);
        IoTask<T> task = job.Source.ValueTask;
        ThreadPool.UnsafeQueueUserWorkItem(job, preferLocal: false);
        return task;
    }

    private sealed class OffloadedCall<T>(EventLoop loop, Func<T> work) : IoContinuation, IThreadPoolWorkItem
    {
        private T _result = default!;
        private Exception? _error;

        internal IoCompletionSource<T> Source { get; } = new();

        public void Execute()
        {
            try
            {
                _result = work();
            }
            catch (Exception e)
            {
                _error = e;
            }

            loop.Post(this);
        }

        protected internal override void Resume()
        {
            if (_error is null)
            {
                Source.SetResult(_result);
            }
            else
            {
                Source.SetException(_error);
            }
        }
    }
}
