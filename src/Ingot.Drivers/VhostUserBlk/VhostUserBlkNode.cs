using System.Text.Json;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Memory;

namespace Ingot.Drivers.VhostUserBlk;

/// <summary>
/// A disk served over vhost-user-blk. Requests that are whole blocks and not too long go straight to the rings; longer ones are split, and those that are not
/// whole blocks are read, changed and written back while no other write is under way.
/// When the server goes, everything fails with the socket's name, until <see cref="ReconnectAsync"/>.
/// </summary>
public sealed class VhostUserBlkNode : BlockNode
{
    private const long MaxPiecesAtOnce = 64;

    private readonly VhostUserBlkOptions _options;
    private readonly OpenFlags _flags;
    private readonly LoopMutex _readModifyWrite = new();
    private readonly LoopMutex _reconnect = new();
    private readonly List<SharedMemoryRegion> _regions = [];
    private VhostUserBlkConnection _connection;

    private VhostUserBlkNode(VhostUserBlkOptions options, OpenFlags flags, string? name, VhostUserBlkConnection connection)
        : base(name)
    {
        _options = options;
        _flags = flags;
        _connection = connection;
    }

    /// <inheritdoc/>
    public override bool IsTiedToLoop => true;

    /// <inheritdoc/>
    public override string DriverName => VhostUserBlkDriver.DriverName;

    /// <inheritdoc/>
    public override long Length => _connection.Length;

    /// <inheritdoc/>
    public override string FileName => $"json:{{\"driver\": \"{DriverName}\", \"path\": \"{JsonEncodedText.Encode(_options.Path)}\"}}";

    /// <inheritdoc/>
    public override BlockLimits Limits => new()
    {
        RequestAlignment = _connection.Limits.BlockSize,
        OptimalTransfer = _connection.Limits.OptimalTransfer,
        DiscardAlignment = (int)Math.Min(_connection.Limits.DiscardAlignment, 1 << 30),
    };

    /// <inheritdoc/>
    public override BlockFeatures Features
        => _connection.Limits.IsReadOnly || (_flags & OpenFlags.ReadWrite) == 0
            ? BlockFeatures.None
            : BlockFeatures.Write
                | (_connection.Limits.CanWriteZeroes ? BlockFeatures.FastZero : 0)
                | (_connection.Limits.CanDiscard ? BlockFeatures.Discard : 0);

    /// <summary>Why the connection is over, or null while it is up.</summary>
    public ErrnoException? Failure => _connection.Driver.Failure;

    /// <summary>The features agreed with the server, those of the rings among them.</summary>
    public ulong NegotiatedFeatures => _connection.Features;

    private VirtioBlkDriver Rings => _connection.Driver;

    private int BlockSize => _connection.Limits.BlockSize;

    /// <summary>Connects to a server.</summary>
    /// <param name="options">The socket and the shape of the queues.</param>
    /// <param name="flags">For writing or not; without a flush or not.</param>
    /// <param name="name">The node name, or null.</param>
    /// <returns>The node.</returns>
    public static async IoTask<VhostUserBlkNode> OpenAsync(VhostUserBlkOptions options, OpenFlags flags, string? name = null)
        => new(options, flags, name, await VhostUserBlkConnection.OpenAsync(options));

    /// <summary>Closes the connection, failing what is in flight, and makes a new one to the same socket with the same registered memory.</summary>
    /// <returns>The task; after a failure the node stays without a connection and this can be called again.</returns>
    public async IoTask ReconnectAsync()
    {
        await _reconnect.LockAsync();
        try
        {
            _connection.Driver.Fail(new ErrnoException(Errno.ENOTCONN, $"{_connection.Peer} is being connected anew"));
            await _connection.CloseAsync();
            _connection = await ConnectAnewAsync();
        }
        finally
        {
            _reconnect.Unlock();
        }
    }

    /// <summary>Registers memory with the device: requests whose data lies in it are not copied.</summary>
    /// <param name="region">Stays alive until <see cref="UnregisterAsync"/> or the node is closed.</param>
    /// <returns>The task.</returns>
    public async IoTask RegisterAsync(SharedMemoryRegion region)
    {
        await _connection.RegisterAsync(region);
        _regions.Add(region);
    }

    /// <summary>Ends <see cref="RegisterAsync"/>; no request may use the memory.</summary>
    /// <param name="region">The region.</param>
    /// <returns>The task.</returns>
    public IoTask UnregisterAsync(SharedMemoryRegion region)
        => _regions.Remove(region) && Failure is null ? _connection.UnregisterAsync(region) : IoTask.Completed;

    /// <summary>Reads the device's serial number.</summary>
    /// <returns>At most 20 characters.</returns>
    public async IoTask<string> GetSerialAsync()
    {
        using var buffer = IoBuffer.Zeroed(VirtioBlkConfig.SerialSize);
        await Rings.GetIdAsync(buffer.Vector);
        int end = buffer.Span.IndexOf((byte)0);
        return System.Text.Encoding.ASCII.GetString(buffer.Span[..(end < 0 ? buffer.Length : end)]);
    }

    /// <summary>Switches the device's write cache between write-back and write-through.</summary>
    /// <param name="enabled">True for write-back.</param>
    /// <returns>The task.</returns>
    public IoTask SetWriteCacheAsync(bool enabled)
        => _connection.Limits.CanSwitchCache
            ? _connection.SetWriteCacheAsync(enabled)
            : IoTask.FromException(new ErrnoException(Errno.ENOTSUP, $"{_connection.Peer} can't switch its write cache"));

    /// <inheritdoc/>
    public override IoTask CloseAsync() => _connection.CloseAsync();

    /// <inheritdoc/>
    protected override IoTask<Extent> GetExtentCore(long offset, long length)
        => new(new Extent(offset, length, ExtentFlags.Data | ExtentFlags.Allocated | ExtentFlags.OffsetValid, offset, this));

    /// <inheritdoc/>
    protected override IoTask ReadCore(long offset, IoVector data)
        => IsSimple(offset, data.Length) ? Rings.ReadAsync(Sector(offset), data) : ReadSlowAsync(offset, data);

    /// <inheritdoc/>
    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
        => IsSimple(offset, data.Length) && !IsDurable(flags) && !_readModifyWrite.IsHeld
            ? Rings.WriteAsync(Sector(offset), data)
            : WriteSlowAsync(offset, data, flags);

    /// <inheritdoc/>
    protected override IoTask FlushCore()
        => _connection.Limits.CanFlush && (_flags & OpenFlags.NoFlush) == 0 ? Rings.FlushAsync() : IoTask.Completed;

    /// <inheritdoc/>
    protected override IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
        => _connection.Limits.CanWriteZeroes ? WriteZeroesSlowAsync(offset, length, flags) : base.WriteZeroesCore(offset, length, flags);

    /// <inheritdoc/>
    protected override async IoTask DiscardCore(long offset, long length)
    {
        if (!_connection.Limits.CanDiscard)
        {
            return;
        }

        // A hint: what is not a whole block is left as it is.
        long end = AlignDown(offset + length);
        long start = AlignUp(offset);
        while (start < end)
        {
            await WaitTurnAsync();
            long piece = Math.Min(end - start, _connection.Limits.MaxDiscard);
            await Rings.DiscardAsync(Sector(start), SectorCount(piece));
            start += piece;
        }
    }

    private static ulong Sector(long offset) => (ulong)offset / VirtioBlkConfig.SectorSize;

    private static uint SectorCount(long length) => checked((uint)(length / VirtioBlkConfig.SectorSize));

    private bool IsSimple(long offset, long length) => length > 0 && length <= Rings.MaxRequest && IsAligned(offset, length);

    private bool IsAligned(long offset, long length) => ((offset | length) & (BlockSize - 1)) == 0;

    private long AlignDown(long offset) => offset & ~(BlockSize - 1L);

    private long AlignUp(long offset) => (offset + BlockSize - 1) & ~(BlockSize - 1L);

    private bool IsDurable(WriteFlags flags) => (flags & WriteFlags.Fua) != 0 || (_flags & OpenFlags.WriteThrough) != 0;

    private async IoTask<VhostUserBlkConnection> ConnectAnewAsync()
    {
        VhostUserBlkConnection fresh = await VhostUserBlkConnection.OpenAsync(_options);
        try
        {
            foreach (SharedMemoryRegion region in _regions)
            {
                await fresh.RegisterAsync(region);
            }
        }
        catch
        {
            await fresh.CloseAsync();
            throw;
        }

        return fresh;
    }

    private async IoTask ReadSlowAsync(long offset, IoVector data)
    {
        if (data.Length == 0)
        {
            return;
        }

        if (IsAligned(offset, data.Length))
        {
            await TransferAsync(offset, data, write: false);
            return;
        }

        long step = Math.Max(BlockSize, AlignDown(Rings.MaxRequest));
        for (long at = AlignDown(offset), end = offset + data.Length; at < end;)
        {
            long next = Math.Min(at + step, AlignUp(end));
            IoBuffer buffer = BufferPool.Local.Rent((int)(next - at));
            try
            {
                await Rings.ReadAsync(Sector(at), buffer.Slice(0, (int)(next - at)));
                CopyOut(buffer, at, next, offset, data);
            }
            finally
            {
                BufferPool.Local.Return(buffer);
            }

            at = next;
        }
    }

    private static void CopyOut(IoBuffer buffer, long start, long end, long offset, IoVector data)
    {
        long from = Math.Max(start, offset);
        long to = Math.Min(end, offset + data.Length);
        data.Slice(from - offset, to - from).CopyFrom(buffer.Slice((int)(from - start), (int)(to - from)));
    }

    private async IoTask WriteSlowAsync(long offset, IoVector data, WriteFlags flags)
    {
        if (data.Length > 0)
        {
            await (IsAligned(offset, data.Length) ? TransferAsync(offset, data, write: true, waitTurn: true) : WriteUnalignedAsync(offset, data));
        }

        if (IsDurable(flags))
        {
            await FlushCore();
        }
    }

    // Alone among all writes: a block that is read and written back must not undo what another write does to its neighbours meanwhile.
    private async IoTask WriteUnalignedAsync(long offset, IoVector data)
    {
        await _readModifyWrite.LockAsync();
        try
        {
            await Rings.WaitChangesIdleAsync();
            for (long done = 0; done < data.Length;)
            {
                long at = offset + done;
                bool whole = IsAligned(at, 0) && data.Length - done >= BlockSize;
                long length = whole ? AlignDown(data.Length - done) : Math.Min(data.Length - done, AlignDown(at) + BlockSize - at);
                IoVector part = data.Slice(done, length);
                await (whole ? TransferAsync(at, part, write: true) : WriteIntoBlockAsync(at, part));
                done += length;
            }
        }
        finally
        {
            _readModifyWrite.Unlock();
        }
    }

    private async IoTask WriteIntoBlockAsync(long offset, IoVector data)
    {
        long start = AlignDown(offset);
        IoBuffer buffer = BufferPool.Local.Rent(BlockSize);
        try
        {
            IoVector block = buffer.Slice(0, BlockSize);
            await Rings.ReadAsync(Sector(start), block);
            block.Slice(offset - start, data.Length).CopyFrom(data);
            await Rings.WriteAsync(Sector(start), block);
        }
        finally
        {
            BufferPool.Local.Return(buffer);
        }
    }

    private async IoTask WriteZeroesSlowAsync(long offset, long length, ZeroFlags flags)
    {
        long start = Math.Min(AlignUp(offset), offset + length);
        long end = Math.Max(AlignDown(offset + length), start);
        await WriteZeroBytesAsync(offset, start - offset);
        for (long at = start; at < end;)
        {
            await WaitTurnAsync();
            long piece = Math.Min(end - at, _connection.Limits.MaxWriteZeroes);
            await Rings.WriteZeroesAsync(Sector(at), SectorCount(piece), (flags & ZeroFlags.MayUnmap) != 0);
            at += piece;
        }

        await WriteZeroBytesAsync(end, offset + length - end);
        if ((flags & ZeroFlags.Fua) != 0 || (_flags & OpenFlags.WriteThrough) != 0)
        {
            await FlushCore();
        }
    }

    // Less than a block, at the edges of a range.
    private async IoTask WriteZeroBytesAsync(long offset, long length)
    {
        if (length > 0)
        {
            using IoBuffer zeroes = IoBuffer.Zeroed((int)length);
            await WriteUnalignedAsync(offset, zeroes.Vector);
        }
    }

    private async IoTask WaitTurnAsync()
    {
        if (_readModifyWrite.IsHeld)
        {
            await _readModifyWrite.LockAsync();
            _readModifyWrite.Unlock();
        }
    }

    private async IoTask TransferAsync(long offset, IoVector data, bool write, bool waitTurn = false)
    {
        long group = MaxPiecesAtOnce * Rings.MaxRequest;
        for (long done = 0; done < data.Length; done += group)
        {
            if (waitTurn)
            {
                await WaitTurnAsync();
            }

            await TransferPiecesAsync(offset + done, data.Slice(done, Math.Min(group, data.Length - done)), write);
        }
    }

    // Starts all pieces before it waits for the first. All have ended when this does, also after a failure: the caller's memory is free then.
    private async IoTask TransferPiecesAsync(long offset, IoVector data, bool write)
    {
        long length = Math.Min(data.Length, AlignDown(Rings.MaxRequest));
        IoVector piece = data.Slice(0, length);
        IoTask first = write ? Rings.WriteAsync(Sector(offset), piece) : Rings.ReadAsync(Sector(offset), piece);
        IoTask rest = length < data.Length ? TransferPiecesAsync(offset + length, data.Slice(length), write) : IoTask.Completed;
        try
        {
            await first;
        }
        finally
        {
            await rest;
        }
    }
}
