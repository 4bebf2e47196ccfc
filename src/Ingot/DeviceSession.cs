using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.VhostUserBlk;
using Ingot.Exports;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.Memory;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Ingot;

/// <summary>The loop's side of a <see cref="BlockDevice"/>: the open node, who uses it, and the pool of requests.</summary>
internal sealed class DeviceSession
{
    private const int MaxPooledRequests = 1024;

    private readonly bool _ownsLoop;
    private readonly Stack<BlockRequest> _pool = new();
    private readonly Lock _poolLock = new();
    private readonly InFlightCounter _inFlight = new();
    private readonly List<Export> _exports = [];
    private bool _isClosed; // of the loop
    private int _disposed;

    private DeviceSession(BlockNode node, EventLoop loop, bool ownsLoop, string name, ILogger logger)
    {
        Node = node;
        Loop = loop;
        Name = name;
        Logger = logger;
        _ownsLoop = ownsLoop;
    }

    internal string Name { get; }

    internal BlockNode Node { get; }

    internal EventLoop Loop { get; }

    internal ILogger Logger { get; }

    internal bool IsDisposed => Volatile.Read(ref _disposed) != 0;

    /// <summary>Opens a node on a loop. The name is for messages.</summary>
    internal static async ValueTask<DeviceSession> OpenAsync(string fileNameOrOptions, string name, BlockDeviceOptions options, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ILogger logger = (options.LoggerFactory ?? NullLoggerFactory.Instance).CreateLogger<BlockDevice>();
        EventLoop loop = options.Loop ?? EventLoop.Start("ingot");
        try
        {
            var graph = new BlockGraph { Warn = message => Log.Warning(logger, message) };
            BlockNode node = await loop.RunAsync(() => OpenNodeAsync(graph, fileNameOrOptions, options)).ConfigureAwait(false);
            Log.Opened(logger, name, node.DriverName, node.Length, node.IsReadOnly);
            return new DeviceSession(node, loop, options.Loop is null, name, logger);
        }
        catch when (options.Loop is null)
        {
            loop.Dispose();
            throw;
        }
    }

    /// <summary>Waits for what is in flight and closes. Idempotent.</summary>
    internal async ValueTask CloseAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        try
        {
            await Loop.RunAsync(CloseNodeAsync).ConfigureAwait(false);
            Log.Closed(Logger, Name);
        }
        finally
        {
            if (_ownsLoop)
            {
                Loop.Dispose();
            }
        }
    }

    /// <summary>Runs a control operation on the loop.</summary>
    internal async Task<T> RunAsync<T>(Func<IoTask<T>> work, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, typeof(BlockDevice));
        cancellationToken.ThrowIfCancellationRequested();
        return await Loop.RunAsync(async () =>
        {
            if (EnterOrRefuse() is { } refusal)
            {
                throw refusal;
            }

            try
            {
                return await work();
            }
            finally
            {
                Exit(null);
            }
        }).ConfigureAwait(false);
    }

    /// <summary>Starts to serve the device, and tells clients of its size from then on.</summary>
    internal Task<T> StartExportAsync<T>(Func<BlockNode, T> start, CancellationToken cancellationToken)
        where T : Export
        => RunAsync(
            () =>
            {
                T export = start(Node);
                _exports.Add(export);
                return new IoTask<T>(export);
            },
            cancellationToken);

    /// <summary>Ends <see cref="StartExportAsync"/>.</summary>
    internal Task StopExportAsync(Export export) => Loop.RunAsync(async () =>
    {
        _exports.Remove(export);
        await export.StopAsync();
    });

    /// <summary>Counts a request in, on the loop; gives the reason when the device is closed.</summary>
    internal Exception? EnterOrRefuse()
    {
        if (_isClosed)
        {
            return new ObjectDisposedException(nameof(BlockDevice));
        }

        _inFlight.Enter();
        return null;
    }

    internal void Exit(Exception? error)
    {
        _inFlight.Exit();
        if (error is not null and not OperationCanceledException)
        {
            Log.RequestFailed(Logger, error, Name);
        }
    }

    internal void Return(BlockRequest request)
    {
        lock (_poolLock)
        {
            if (_pool.Count < MaxPooledRequests)
            {
                _pool.Push(request);
            }
        }
    }

    /// <summary>Takes a request from the pool; <see cref="Return"/> gives it back.</summary>
    internal BlockRequest Rent()
    {
        lock (_poolLock)
        {
            return _pool.TryPop(out BlockRequest? request) ? request : new BlockRequest(this);
        }
    }

    /// <summary>Changes the size and tells clients of it.</summary>
    internal async IoTask<bool> ResizeAsync(long length)
    {
        await Node.ResizeAsync(length);
        foreach (Export export in _exports)
        {
            await export.NotifyResizeAsync();
        }

        return true;
    }

    /// <summary>Lets the server of a vhost-user-blk device reach a region; others need nothing.</summary>
    internal async IoTask<bool> RegisterAsync(SharedMemoryRegion region)
    {
        if (Node is VhostUserBlkNode served)
        {
            await served.RegisterAsync(region);
        }

        return true;
    }

    /// <summary>Ends <see cref="RegisterAsync"/> and frees the region. Any thread.</summary>
    internal void Release(SharedMemoryRegion region)
    {
        if (IsDisposed)
        {
            region.Dispose();
            return;
        }

        Loop.Post(() => ReleaseAsync(region).Spawn());
    }

    private async IoTask ReleaseAsync(SharedMemoryRegion region)
    {
        if (EnterOrRefuse() is null)
        {
            try
            {
                await (Node is VhostUserBlkNode served ? served.UnregisterAsync(region) : IoTask.Completed);
            }
            catch (ErrnoException e)
            {
                Log.Warning(Logger, e.Message);
            }

            Exit(null);
        }

        region.Dispose();
    }

    private static async IoTask<BlockNode> OpenNodeAsync(BlockGraph graph, string fileNameOrOptions, BlockDeviceOptions options)
    {
        OpenFlags flags = OpenFlags.PublishMetadata
            | (options.ReadOnly ? OpenFlags.None : OpenFlags.ReadWrite)
            | (options.DirectIO ? OpenFlags.Direct : OpenFlags.None)
            | (options.ForceShare ? OpenFlags.ForceShare : OpenFlags.None)
            | (options.Untrusted ? OpenFlags.Untrusted : OpenFlags.None)
            | (options.IgnoreFlush ? OpenFlags.NoFlush : OpenFlags.None);
        return fileNameOrOptions.StartsWith("driver=", StringComparison.Ordinal)
            ? await graph.OpenAsync(KeyValueText.Parse(fileNameOrOptions), flags)
            : await graph.OpenFileAsync(fileNameOrOptions, options.Format, flags);
    }

    private async IoTask CloseNodeAsync()
    {
        _isClosed = true;
        await _inFlight.WaitIdleAsync();
        await Node.CloseAsync();
    }
}
