using System.Threading.Tasks.Sources;
using Ingot.Block;
using Ingot.Io;

namespace Ingot;

/// <summary>What a <see cref="BlockRequest"/> does.</summary>
internal enum BlockRequestKind
{
    Read,
    Write,
    Flush,
    Discard,
    WriteZeroes,
}

/// <summary>
/// One request of a program: posted to the device's loop, run there, completed on the thread pool. Pooled by the session, so that a request allocates nothing.
/// </summary>
internal sealed class BlockRequest(DeviceSession session) : IoContinuation, IValueTaskSource, IThreadPoolWorkItem
{
    private readonly PinnedMemory _pinned = new();
    private ManualResetValueTaskSourceCore<int> _source;
    private CancellationToken _cancellation;
    private BlockRequestKind _kind;
    private long _offset;
    private long _length;
    private IoVector _data;
    private int _flags;
    private bool _isInline;
    private Exception? _error;

    internal PinnedMemory Pinned => _pinned;

    /// <summary>Hands the request to the loop.</summary>
    internal ValueTask Start(BlockRequestKind kind, long offset, long length, IoVector data, int flags, bool isInline, CancellationToken cancellation)
    {
        _kind = kind;
        _offset = offset;
        _length = length;
        _data = data;
        _flags = flags;
        _isInline = isInline;
        _cancellation = cancellation;
        var task = new ValueTask(this, _source.Version);
        if (!session.Loop.Post(this))
        {
            // The device was disposed on another thread meanwhile, and with it the loop.
            _pinned.Unpin();
            _error = new ObjectDisposedException(nameof(BlockDevice));
            Execute();
        }

        return task;
    }

    /// <summary>Completes on the thread pool, where the program's code may take its time.</summary>
    public void Execute()
    {
        if (_error is { } error)
        {
            _source.SetException(error);
        }
        else
        {
            _source.SetResult(0);
        }
    }

    public void GetResult(short token)
    {
        try
        {
            _source.GetResult(token);
        }
        finally
        {
            _source.Reset();
            _error = null;
            session.Return(this);
        }
    }

    public ValueTaskSourceStatus GetStatus(short token) => _source.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags)
        => _source.OnCompleted(continuation, state, token, flags);

    protected override void Resume() => RunAsync().Spawn();

    private async IoTask RunAsync()
    {
        if (session.EnterOrRefuse() is { } refusal)
        {
            _error = refusal;
        }
        else
        {
            try
            {
                _cancellation.ThrowIfCancellationRequested();
                await Perform(session.Node);
            }
            catch (Exception e)
            {
                _error = e;
            }

            session.Exit(_error);
        }

        _pinned.Unpin();
        _data = default;
        _cancellation = default;
        if (_isInline)
        {
            Execute();
        }
        else
        {
            ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        }
    }

    private IoTask Perform(BlockNode node) => _kind switch
    {
        BlockRequestKind.Read => node.ReadAsync(_offset, _data),
        BlockRequestKind.Write => node.WriteAsync(_offset, _data, (WriteFlags)_flags),
        BlockRequestKind.Flush => node.FlushAsync(),
        BlockRequestKind.Discard => node.DiscardAsync(_offset, _length),
        _ => node.WriteZeroesAsync(_offset, _length, (ZeroFlags)_flags),
    };
}
