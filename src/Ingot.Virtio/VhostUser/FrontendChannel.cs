using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Virtio.VhostUser;

/// <summary>
/// The front-end's end of a vhost-user socket: one request with its reply at a time, and always somebody listening, so that the end of the connection
/// is seen at once.
/// </summary>
internal sealed class FrontendChannel : IDisposable
{
    // A server with one client at a time leaves the next one waiting in its queue: better an answer than a silent wait.
    private static readonly TimeSpan ReplyTimeout = TimeSpan.FromSeconds(30);

    private readonly string _peer;
    private readonly VhostUserConnection _connection;
    private readonly LoopMutex _mutex = new();
    private IoCompletionSource<VhostUserMessage>? _reply;
    private IoCompletionSource? _ended;
    private ErrnoException? _failure;

    internal FrontendChannel(string peer, UnixSocket socket)
    {
        _peer = peer;
        _connection = new VhostUserConnection(socket);
    }

    /// <summary>Called once when the connection has ended, whoever ended it.</summary>
    internal Action<ErrnoException>? OnEnd { get; set; }

    internal ErrnoException? Failure => _failure;

    internal void Start()
    {
        _ended = new IoCompletionSource();
        ReceiveLoop(_ended).Spawn();
    }

    /// <summary>Sends a request that has no reply.</summary>
    internal async IoTask SendAsync(VhostUserMessage message)
    {
        await _mutex.LockAsync();
        try
        {
            ThrowIfEnded();
            await _connection.SendAsync(message);
        }
        catch (ErrnoException e) when (_failure is null)
        {
            throw Wrap(message, e);
        }
        finally
        {
            _mutex.Unlock();
        }
    }

    /// <summary>Sends a request and waits for its reply.</summary>
    internal async IoTask<VhostUserMessage> CallAsync(VhostUserMessage message)
    {
        await _mutex.LockAsync();
        try
        {
            ThrowIfEnded();
            var reply = new IoCompletionSource<VhostUserMessage>();
            IoTask<VhostUserMessage> wait = reply.ValueTask;
            _reply = reply;
            await _connection.SendAsync(message);
            TimeOutAsync(reply, (VhostUserRequest)message.Request).Spawn();
            VhostUserMessage answer = await wait;
            return CheckReply(message, answer);
        }
        catch (ErrnoException e) when (_failure is null)
        {
            throw Wrap(message, e);
        }
        finally
        {
            _reply = null;
            _mutex.Unlock();
        }
    }

    /// <summary>Ends the connection and waits until nobody listens any more.</summary>
    internal async IoTask CloseAsync()
    {
        End(new ErrnoException(Errno.ENOTCONN, $"{_peer} was closed"));
        if (_ended is { } ended)
        {
            _ended = null;
            await ended.Task;
        }

        _connection.Dispose();
    }

    /// <summary>Closes the socket of a channel that was not started.</summary>
    public void Dispose() => _connection.Dispose();

    /// <summary>Ends the connection because of something that the peer did.</summary>
    internal void End(ErrnoException reason)
    {
        if (_failure is not null)
        {
            return;
        }

        _failure = reason;
        _connection.Shutdown();
        OnEnd?.Invoke(reason);
        if (_reply is { IsDone: false } reply)
        {
            reply.SetException(reason);
        }
    }

    private async IoTask ReceiveLoop(IoCompletionSource ended)
    {
        try
        {
            while (await _connection.ReceiveAsync() is { } message)
            {
                if (_reply is not { IsDone: false } reply)
                {
                    message.Dispose();
                    throw new ErrnoException(Errno.EPROTO, $"a message {message.Request} came that nobody asked for");
                }

                reply.SetResult(message);
            }

            End(new ErrnoException(Errno.ENOTCONN, $"{_peer} closed the connection"));
        }
        catch (ErrnoException e)
        {
            End(new ErrnoException(e.Errno, $"{_peer}: {e.Message}", e));
        }

        ended.SetResult();
    }

    private async IoTask TimeOutAsync(IoCompletionSource<VhostUserMessage> reply, VhostUserRequest request)
    {
        await EventLoop.Current.DelayAsync(ReplyTimeout);
        if (!reply.IsDone)
        {
            End(new ErrnoException(Errno.ETIMEDOUT, $"{_peer} did not answer {request} within {ReplyTimeout.TotalSeconds:0} seconds; many servers take one client at a time"));
        }
    }

    private VhostUserMessage CheckReply(VhostUserMessage request, VhostUserMessage reply)
    {
        if (reply.Request == request.Request && (reply.Flags & VhostUserFlags.Reply) != 0)
        {
            return reply;
        }

        reply.Dispose();
        throw new ErrnoException(Errno.EPROTO, $"the answer is message {reply.Request} with flags 0x{(uint)reply.Flags:x}");
    }

    private void ThrowIfEnded()
    {
        if (_failure is not null)
        {
            throw new ErrnoException(_failure.Errno, _failure.Message, _failure);
        }
    }

    private ErrnoException Wrap(VhostUserMessage request, ErrnoException e)
        => new(e.Errno, $"{_peer}, {(VhostUserRequest)request.Request}: {e.Message}", e);
}
