using Ingot.Exports.VhostUser;

namespace Ingot;

/// <summary>Serves a <see cref="BlockDevice"/> on a socket to QEMU, to a guest's kernel or to another program, while this program may go on using it.</summary>
public sealed class VhostUserBlkServer : IAsyncDisposable
{
    private readonly BlockDevice _device;
    private readonly VhostUserBlkExport _export;
    private int _disposed;

    private VhostUserBlkServer(BlockDevice device, VhostUserBlkExport export, string socketPath)
    {
        _device = device;
        _export = export;
        SocketPath = socketPath;
    }

    /// <summary>The socket that clients connect to.</summary>
    public string SocketPath { get; }

    /// <summary>True while a client is connected.</summary>
    public bool IsConnected => _export.Statistics.IsConnected;

    /// <summary>Starts to serve.</summary>
    /// <param name="device">Stays owned by the caller; dispose it after the server.</param>
    /// <param name="socketPath">Where to listen; removed when the server is disposed.</param>
    /// <param name="options">What to offer; null for one queue, and writing if the device allows it.</param>
    /// <param name="cancellationToken">Ends the wait before the server starts.</param>
    /// <returns>The running server; dispose it.</returns>
    /// <exception cref="IOException">The socket can't be had, or an option does not fit the device.</exception>
    public static async ValueTask<VhostUserBlkServer> StartAsync(
        BlockDevice device,
        string socketPath,
        VhostUserBlkServerOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentException.ThrowIfNullOrEmpty(socketPath);
        options ??= new VhostUserBlkServerOptions();
        var exportOptions = new VhostUserBlkOptions
        {
            Id = "ingot",
            Path = socketPath,
            Writable = !options.ReadOnly && !device.IsReadOnly,
            QueueCount = options.QueueCount,
            Packed = options.Packed,
            LogicalBlockSize = options.LogicalBlockSize,
            Serial = options.Serial,
        };
        VhostUserBlkExport export = await device.StartExportAsync(
            node => VhostUserBlkExport.Start(exportOptions, node, [], message => Log.Warning(device.Logger, message)),
            cancellationToken).ConfigureAwait(false);
        Log.Serving(device.Logger, device.Name, socketPath);
        return new VhostUserBlkServer(device, export, socketPath);
    }

    /// <summary>Stops: disconnects the client, waits for its requests, flushes the device and removes the socket.</summary>
    /// <returns>The task.</returns>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            await _device.StopExportAsync(_export).ConfigureAwait(false);
            Log.StoppedServing(_device.Logger, SocketPath);
        }
    }
}
