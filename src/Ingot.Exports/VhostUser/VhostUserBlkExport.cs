using Ingot.Block;
using Ingot.Exports.VirtioBlk;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.VhostUser;

namespace Ingot.Exports.VhostUser;

/// <summary>
/// Offers a node over a vhost-user-blk socket to one front-end at a time, again and again. The control connection lives on the loop that started the
/// export; queues of a node that may be used from any loop are spread over the loops given, those of other nodes run on the loop that the node
/// settles on.
/// </summary>
public sealed class VhostUserBlkExport : Export
{
    private readonly VirtioBlkHandler _handler;
    private readonly QueueWorker[] _workers;
    private readonly VhostUserBlkDevice _device;
    private readonly UnixSocket _socket;
    private readonly Action<string> _warn;
    private readonly IoCompletionSource _ended = new();
    private BackendSession? _session;
    private bool _isStopping;
    private bool _isStopped;

    private VhostUserBlkExport(VhostUserBlkOptions options, BlockNode node, IReadOnlyList<EventLoop> loops, Action<string>? warn)
        : base(options.Id, node)
    {
        int blockSize = options.Validate(node);
        IsWritable = options.Writable;
        _warn = message => warn?.Invoke($"Export '{Id}': {message}");
        if ((node.Features & BlockFeatures.AnyLoop) == 0)
        {
            loops = [node.Settle(loops.Count > 0 ? loops[0] : null)];
        }
        else if (loops.Count == 0)
        {
            loops = [EventLoop.Current];
        }

        _socket = options.Path is not null ? UnixSocket.Listen(options.Path) : new UnixSocket(options.Socket!);
        _handler = new VirtioBlkHandler(node, options.Writable, blockSize, options.QueueCount, options.Serial ?? options.Id, options.WriteThrough);
        _workers = new QueueWorker[options.QueueCount];
        for (int i = 0; i < _workers.Length; i++)
        {
            _workers[i] = new QueueWorker(i, loops[i % loops.Count], _handler, options.RegisterMemory, _warn);
        }

        _device = new VhostUserBlkDevice(_handler, _workers, options, _warn);
    }

    /// <inheritdoc/>
    public override string Type => "vhost-user-blk";

    /// <summary>True when clients may write.</summary>
    public bool IsWritable { get; }

    /// <inheritdoc/>
    public override ExportStatistics Statistics => _workers.Aggregate(new ExportStatistics { IsConnected = _session is not null }, (sum, worker) => worker.Count(sum));

    /// <summary>Starts to listen. Call it on the node's loop.</summary>
    /// <param name="options">What to offer and where.</param>
    /// <param name="node">The node; stays open until the export is stopped.</param>
    /// <param name="loops">Running loops to spread queues over; may be empty.</param>
    /// <param name="warn">Takes sentences for the operator, on any of the loops: a front-end that spoke nonsense.</param>
    /// <returns>The export; stop it before the loops.</returns>
    /// <exception cref="ErrnoException">An option is wrong, or the socket can't be had.</exception>
    public static VhostUserBlkExport Start(VhostUserBlkOptions options, BlockNode node, IReadOnlyList<EventLoop> loops, Action<string>? warn = null)
    {
        var export = new VhostUserBlkExport(options, node, loops, warn);
        export.RunAsync().Spawn();
        return export;
    }

    /// <inheritdoc/>
    public override IoTask NotifyResizeAsync()
    {
        _handler.Refresh();
        return _session?.NotifyConfigChangeAsync() ?? IoTask.Completed;
    }

    /// <inheritdoc/>
    public override async IoTask StopAsync()
    {
        if (_isStopping)
        {
            return;
        }

        _isStopping = true;
        _socket.Shutdown();
        _session?.Shutdown();
        if (!_isStopped)
        {
            await _ended.Task;
        }

        _socket.Dispose();
        if (!Node.IsReadOnly)
        {
            await FlushAsync(_workers[0].Loop);
        }
    }

    private async IoTask FlushAsync(EventLoop loop)
    {
        if (loop == EventLoop.Current)
        {
            await Node.FlushAsync();
            return;
        }

        await EventLoop.Current.WaitAsync(loop.RunAsync(async () =>
        {
            await Node.FlushAsync();
            return true;
        }));
    }

    private async IoTask RunAsync()
    {
        if (!_socket.IsListening)
        {
            await ServeAsync(_socket);
        }
        else
        {
            while (await AcceptAsync() is { } peer)
            {
                await ServeAsync(peer);
            }
        }

        _isStopped = true;
        _ended.SetResult();
    }

    private async IoTask<UnixSocket?> AcceptAsync()
    {
        while (!_isStopping)
        {
            try
            {
                if (_socket.TryAccept() is { } peer)
                {
                    return peer;
                }
            }
            catch (ErrnoException e) when (!_isStopping)
            {
                _warn(e.Message);
                await EventLoop.Current.DelayAsync(TimeSpan.FromSeconds(1));
            }

            await EventLoop.Current.Ring.PollAsync(_socket.Descriptor, Libc.POLLIN);
        }

        return null;
    }

    private async IoTask ServeAsync(UnixSocket peer)
    {
        _session = new BackendSession(new VhostUserConnection(peer), _device);
        try
        {
            await _session.RunAsync();
        }
        catch (ErrnoException e)
        {
            _warn($"{e.Message}; the connection was closed");
        }

        _session = null;
    }
}
