using System.Buffers;
using System.Runtime.CompilerServices;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.VhostUserBlk;
using Ingot.Exports;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.Memory;
using Microsoft.Extensions.Logging;

namespace Ingot;

/// <summary>
/// A disk for .NET programs: an image file or a served vhost-user-blk device. All members may be called from any thread, at the same time.
/// Requests run on the device's event loop and complete on the thread pool; reads, writes and flushes allocate nothing in steady state.
/// Failures are <see cref="IOException"/>s whose message names what failed and where; an <see cref="ErrnoException"/> has the error number too.
/// </summary>
/// <remarks>
/// Cancellation ends a request that has not reached the kernel or the server yet. After that the memory belongs to them until they are done, so that
/// the request runs to its end and the token has no effect.
/// </remarks>
public sealed class BlockDevice : IAsyncDisposable
{
    private readonly DeviceSession _session;

    private BlockDevice(DeviceSession session) => _session = session;

    /// <summary>The file name, socket or options that the device was opened with.</summary>
    public string Name => _session.Name;

    /// <summary>The size in bytes. Changes when the device is resized, also by its server.</summary>
    public long Length => Node.Length;

    /// <summary>True when writing is refused.</summary>
    public bool IsReadOnly => Node.IsReadOnly;

    /// <summary>The driver: "raw", "qcow2", "virtio-blk-vhost-user".</summary>
    public string DriverName => Node.DriverName;

    /// <summary>What requests are served best. Any offset and length is served; those that are not multiples of
    /// <see cref="BlockLimits.RequestAlignment"/> cost a read and a write more.</summary>
    public BlockLimits Limits => Node.Limits;

    internal ILogger Logger => _session.Logger;

    private BlockNode Node => _session.Node;

    /// <summary>Opens an image or a device.</summary>
    /// <param name="fileNameOrOptions">A path, a <c>json:</c> name, or options that start with <c>driver=</c>, as command lines take them.</param>
    /// <param name="options">How to open; null for reading and writing with the format recognized.</param>
    /// <param name="cancellationToken">Ends the wait before the device is opened.</param>
    /// <returns>The device; dispose it.</returns>
    /// <exception cref="IOException">There is no such image, or it can't be opened.</exception>
    public static ValueTask<BlockDevice> OpenAsync(string fileNameOrOptions, BlockDeviceOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(fileNameOrOptions);
        return OpenAsync(fileNameOrOptions, fileNameOrOptions, options ?? new BlockDeviceOptions(), cancellationToken);
    }

    /// <summary>Connects to a disk that another program serves over vhost-user-blk.</summary>
    /// <param name="path">The server's socket.</param>
    /// <param name="options">How to open; null for reading and writing with one queue.</param>
    /// <param name="cancellationToken">Ends the wait before the connection is made.</param>
    /// <returns>The device; dispose it.</returns>
    /// <exception cref="IOException">Nobody serves there.</exception>
    public static ValueTask<BlockDevice> ConnectVhostUserAsync(string path, BlockDeviceOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        int queues = options?.QueueCount ?? 1;
        string escaped = path.Replace(",", ",,", StringComparison.Ordinal);
        return OpenAsync($"driver={VhostUserBlkDriver.DriverName},num-queues={queues},path={escaped}", path, options ?? new BlockDeviceOptions(), cancellationToken);
    }

    /// <summary>Creates an image, replacing an existing file, and opens it for reading and writing.</summary>
    /// <param name="fileName">Where.</param>
    /// <param name="format">The format: "raw", "qcow2".</param>
    /// <param name="length">The size in bytes.</param>
    /// <param name="createOptions">Options of the format, as <c>img create -o</c> takes them: "cluster_size".</param>
    /// <param name="options">How to open the new image; the format is the one created.</param>
    /// <param name="cancellationToken">Ends the wait before the image is created.</param>
    /// <returns>The device; dispose it.</returns>
    /// <exception cref="IOException">The image can't be created.</exception>
    public static async ValueTask<BlockDevice> CreateAsync(
        string fileName,
        string format,
        long length,
        IReadOnlyDictionary<string, string>? createOptions = null,
        BlockDeviceOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(fileName);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        BlockDriver driver = DriverTable.Find(format) ?? throw new ArgumentException($"There is no format '{format}'.", nameof(format));
        cancellationToken.ThrowIfCancellationRequested();
        var set = new OptionSet();
        foreach ((string name, string value) in createOptions ?? new Dictionary<string, string>())
        {
            set.Set(name, value);
        }

        using (EventLoop loop = EventLoop.Start("ingot-create"))
        {
            await loop.RunAsync(async () =>
            {
                await driver.CreateAsync(new CreateRequest(new BlockGraph(), fileName, length, set));
                set.RefuseRest($"format '{format}'");
            }).ConfigureAwait(false);
        }

        return await OpenAsync(fileName, (options ?? new BlockDeviceOptions()) with { Format = format }, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Fills a buffer from the device.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="buffer">Filled whole.</param>
    /// <param name="cancellationToken">Ends a request that was not started.</param>
    /// <returns>The task; the buffer is not used any more when it completes.</returns>
    public ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
        => Transfer(BlockRequestKind.Read, offset, buffer, 0, false, cancellationToken);

    /// <summary>Fills several buffers in one request.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="buffers">Filled whole, in order.</param>
    /// <param name="cancellationToken">Ends a request that was not started.</param>
    /// <returns>The task.</returns>
    public ValueTask ReadAsync(long offset, IReadOnlyList<Memory<byte>> buffers, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(buffers);
        long length = 0;
        for (int i = 0; i < buffers.Count; i++)
        {
            length += buffers[i].Length;
        }

        Check(offset, length);
        BlockRequest request = _session.Rent();
        return request.Start(BlockRequestKind.Read, offset, length, request.Pinned.Pin(buffers), 0, false, cancellationToken);
    }

    /// <summary>Writes a buffer to the device.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="buffer">The bytes; must not change until the task completes.</param>
    /// <param name="cancellationToken">Ends a request that was not started.</param>
    /// <returns>The task. A crash of this program does not lose the data any more, a crash of the host may until <see cref="FlushAsync"/> completes.</returns>
    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        CheckWritable();
        return Transfer(BlockRequestKind.Write, offset, buffer, 0, false, cancellationToken);
    }

    /// <summary>Writes several buffers in one request.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="buffers">The bytes, in order; must not change until the task completes.</param>
    /// <param name="cancellationToken">Ends a request that was not started.</param>
    /// <returns>The task.</returns>
    public ValueTask WriteAsync(long offset, IReadOnlyList<ReadOnlyMemory<byte>> buffers, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(buffers);
        long length = 0;
        for (int i = 0; i < buffers.Count; i++)
        {
            length += buffers[i].Length;
        }

        Check(offset, length);
        CheckWritable();
        BlockRequest request = _session.Rent();
        return request.Start(BlockRequestKind.Write, offset, length, request.Pinned.Pin(buffers), 0, false, cancellationToken);
    }

    /// <summary>Makes all writes that have completed durable.</summary>
    /// <param name="cancellationToken">Ends a request that was not started.</param>
    /// <returns>The task.</returns>
    public ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        Check(0, 0);
        return _session.Rent().Start(BlockRequestKind.Flush, 0, 0, default, 0, false, cancellationToken);
    }

    /// <summary>Says that the content of a range does not matter any more, so that its space can be given back. What is read from it afterwards is undefined.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="cancellationToken">Ends a request that was not started.</param>
    /// <returns>The task.</returns>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        Check(offset, length);
        CheckWritable();
        return _session.Rent().Start(BlockRequestKind.Discard, offset, length, default, 0, false, cancellationToken);
    }

    /// <summary>Makes a range read as zeroes, without sending zeroes where the device can do so.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="mayUnmap">True when the space of the range may be given back.</param>
    /// <param name="cancellationToken">Ends a request that was not started.</param>
    /// <returns>The task.</returns>
    public ValueTask WriteZeroesAsync(long offset, long length, bool mayUnmap = true, CancellationToken cancellationToken = default)
    {
        Check(offset, length);
        CheckWritable();
        return _session.Rent().Start(BlockRequestKind.WriteZeroes, offset, length, default, (int)(mayUnmap ? ZeroFlags.MayUnmap : ZeroFlags.None), false, cancellationToken);
    }

    /// <summary>Changes the size. New bytes read as zeroes.</summary>
    /// <param name="length">The new size in bytes.</param>
    /// <param name="cancellationToken">Ends a request that was not started.</param>
    /// <returns>The task.</returns>
    /// <exception cref="IOException">The device can't change its size.</exception>
    public async ValueTask ResizeAsync(long length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        CheckWritable();
        await _session.RunAsync(() => _session.ResizeAsync(length), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>What a range holds.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="length">Bytes, at least 1.</param>
    /// <param name="cancellationToken">Ends a request that was not started.</param>
    /// <returns>The first extent of the range; at most as long as asked.</returns>
    public async ValueTask<BlockExtent> GetExtentAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        Check(offset, length);
        return await _session.RunAsync(async () => BlockExtent.From(await Node.GetExtentAsync(offset, length)), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>What the device holds, from a byte to its end.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="cancellationToken">Ends the enumeration.</param>
    /// <returns>Extents in order, without gaps.</returns>
    public async IAsyncEnumerable<BlockExtent> EnumerateExtentsAsync(long offset = 0, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (offset < Length)
        {
            BlockExtent extent = await GetExtentAsync(offset, Length - offset, cancellationToken).ConfigureAwait(false);
            yield return extent;
            offset = extent.End;
        }
    }

    /// <summary>Allocates memory that the device reaches without a copy: for a vhost-user-blk device shared with its server, for others aligned for direct I/O.
    /// Slices of it do just as well, so allocate one large buffer rather than many: servers take only a few dozen.</summary>
    /// <param name="length">Bytes.</param>
    /// <param name="cancellationToken">Ends the wait before the memory is shared.</param>
    /// <returns>Zeroed memory; dispose it when no request uses it any more, and before the device.</returns>
    public async ValueTask<IMemoryOwner<byte>> AllocateBufferAsync(int length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        var region = new SharedMemoryRegion("ingot-buffer", length);
        try
        {
            await _session.RunAsync(() => _session.RegisterAsync(region), cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            region.Dispose();
            throw;
        }

        return new SharedMemoryOwner(region, length, _session.Release);
    }

    /// <summary>Connects a vhost-user-blk device anew after its server went away. What was in flight has failed.</summary>
    /// <param name="cancellationToken">Ends the wait before the attempt.</param>
    /// <returns>The task; may be called again after a failure.</returns>
    /// <exception cref="InvalidOperationException">The device is an image.</exception>
    public async ValueTask ReconnectAsync(CancellationToken cancellationToken = default)
    {
        if (Node is not VhostUserBlkNode served)
        {
            throw new InvalidOperationException($"'{Name}' is no connection that could be made anew.");
        }

        await _session.RunAsync(async () =>
        {
            await served.ReconnectAsync();
            return true;
        }, cancellationToken).ConfigureAwait(false);
        Log.Reconnected(Logger, Name);
    }

    /// <summary>The device as a stream from its first byte, with a position of its own. Its length is fixed unless set.</summary>
    /// <returns>A seekable stream; disposing it flushes, and leaves the device open.</returns>
    public Stream AsStream() => new BlockDeviceStream(this);

    /// <summary>Waits for the requests in flight, writes back what an image format holds, and closes. Call <see cref="FlushAsync"/> before if a crash of the host must lose nothing.</summary>
    /// <returns>The task.</returns>
    public ValueTask DisposeAsync() => _session.CloseAsync();

    internal ValueTask Transfer(BlockRequestKind kind, long offset, ReadOnlyMemory<byte> buffer, int flags, bool isInline, CancellationToken cancellationToken)
    {
        Check(offset, buffer.Length);
        BlockRequest request = _session.Rent();
        return request.Start(kind, offset, buffer.Length, request.Pinned.Pin(buffer), flags, isInline, cancellationToken);
    }

    internal Task<T> StartExportAsync<T>(Func<BlockNode, T> start, CancellationToken cancellationToken)
        where T : Export
        => _session.StartExportAsync(start, cancellationToken);

    internal Task StopExportAsync(Export export) => _session.StopExportAsync(export);

    private void CheckWritable()
    {
        if (IsReadOnly)
        {
            throw new InvalidOperationException($"'{Name}' is open for reading only.");
        }
    }

    private static async ValueTask<BlockDevice> OpenAsync(string fileNameOrOptions, string name, BlockDeviceOptions options, CancellationToken cancellationToken)
        => new(await DeviceSession.OpenAsync(fileNameOrOptions, name, options, cancellationToken).ConfigureAwait(false));

    private void Check(long offset, long length)
    {
        ObjectDisposedException.ThrowIf(_session.IsDisposed, this);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if (length > Length - offset)
        {
            throw new ArgumentOutOfRangeException(nameof(offset), $"{length} bytes at offset {offset} lie outside of '{Name}' ({Length} bytes).");
        }
    }
}
