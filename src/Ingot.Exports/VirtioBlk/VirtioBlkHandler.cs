using System.Runtime.InteropServices;
using System.Text;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio;
using Ingot.Virtio.Blk;

namespace Ingot.Exports.VirtioBlk;

/// <summary>
/// A node as a virtio block device: its features, its configuration space, and what each request means. Shared by every transport and by all queues,
/// so what changes while queues run is replaced whole.
/// </summary>
public sealed class VirtioBlkHandler
{
    private const uint MaxFastSectors = 1 << 21; // 1 GiB: what costs nothing to write may be long
    private const uint MaxSlowSectors = 1 << 15; // 16 MiB
    private const int SectorShift = 9;

    private readonly BlockNode _node;
    private readonly bool _isWritable;
    private readonly int _blockSize;
    private readonly int _queueCount;
    private readonly byte[] _serial = new byte[VirtioBlkConfig.SerialSize];
    private readonly bool _hasFua;
    private volatile BlkLimits _limits;
    private readonly bool _isDurable;
    private volatile bool _cacheEnabled;
    private volatile bool _driverFlushes = true;

    /// <summary>Describes a node as a block device.</summary>
    /// <param name="node">The node.</param>
    /// <param name="isWritable">False offers it read-only.</param>
    /// <param name="blockSize">The logical block size.</param>
    /// <param name="queueCount">Queues.</param>
    /// <param name="serial">At most 20 bytes are used.</param>
    /// <param name="isDurable">Every write is durable at its completion, until a driver switches the write cache on.</param>
    public VirtioBlkHandler(BlockNode node, bool isWritable, int blockSize, int queueCount, string serial, bool isDurable = false)
    {
        _isDurable = isDurable;
        _cacheEnabled = !isDurable;
        _node = node;
        _isWritable = isWritable;
        _blockSize = blockSize;
        _queueCount = queueCount;
        _hasFua = (node.Features & BlockFeatures.Fua) != 0;
        byte[] bytes = Encoding.UTF8.GetBytes(serial);
        bytes.AsSpan(0, Math.Min(bytes.Length, _serial.Length)).CopyTo(_serial);
        _limits = MakeLimits();
    }

    /// <summary>What the device can do; the transport adds its own bits.</summary>
    public ulong Features
    {
        get
        {
            const ulong Always = VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex
                | BlkFeatures.SegMax | BlkFeatures.BlockSize | BlkFeatures.Topology | BlkFeatures.Flush | BlkFeatures.ConfigWce | BlkFeatures.MultiQueue;
            return Always | (_isWritable ? BlkFeatures.Discard | BlkFeatures.WriteZeroes : BlkFeatures.ReadOnly);
        }
    }

    /// <summary>What requests must keep to.</summary>
    public BlkLimits Limits => _limits;

    private bool IsWriteThrough => !_cacheEnabled || !_driverFlushes;

    /// <summary>Takes over what driver and device agreed on.</summary>
    /// <param name="features">The bits.</param>
    public void SetFeatures(ulong features)
        => _driverFlushes = (features & (BlkFeatures.Flush | BlkFeatures.ConfigWce)) != 0; // a driver that can't flush counts on durable writes

    /// <summary>Back to the state of a new device.</summary>
    public void Reset()
    {
        _cacheEnabled = !_isDurable;
        _driverFlushes = true;
    }

    /// <summary>Takes over the node's size.</summary>
    public void Refresh() => _limits = MakeLimits();

    /// <summary>Copies configuration space; zeroes beyond its end.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="destination">Filled.</param>
    public void ReadConfig(int offset, Span<byte> destination)
    {
        VirtioBlkConfig config = MakeConfig();
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<VirtioBlkConfig>(in config));
        destination.Clear();
        if (offset < bytes.Length)
        {
            bytes = bytes[offset..];
            bytes[..Math.Min(bytes.Length, destination.Length)].CopyTo(destination);
        }
    }

    /// <summary>Writes configuration space: the write-cache switch is all that a driver may change.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="isMigration">True to ignore read-only fields rather than to refuse them.</param>
    /// <returns>False when refused.</returns>
    public bool WriteConfig(int offset, ReadOnlySpan<byte> source, bool isMigration)
    {
        int at = VirtioBlkConfig.WriteBackOffset - offset;
        bool isSwitch = at >= 0 && at < source.Length;
        if (!isMigration && (!isSwitch || source.Length != 1))
        {
            return false;
        }

        if (isSwitch)
        {
            _cacheEnabled = source[at] != 0;
        }

        return true;
    }

    /// <summary>Serves a request.</summary>
    /// <param name="request">Parsed with <see cref="Limits"/>.</param>
    /// <returns>The task.</returns>
    public IoTask ServeAsync(VirtioBlkRequest request)
    {
        switch (request.Type)
        {
            case BlkRequestType.In:
                return _node.ReadAsync(request.Offset, request.Data);
            case BlkRequestType.Out when !IsWriteThrough:
                return _node.WriteAsync(request.Offset, request.Data);
            case BlkRequestType.Out:
                return _hasFua ? _node.WriteAsync(request.Offset, request.Data, WriteFlags.Fua) : WriteAndFlushAsync(request);
            case BlkRequestType.Flush:
                return _isWritable ? _node.FlushAsync() : IoTask.Completed;
            case BlkRequestType.GetId:
                request.Data.CopyFrom(_serial.AsSpan(0, (int)Math.Min(_serial.Length, request.Data.Length)));
                return IoTask.Completed;
            case BlkRequestType.Discard:
                return DiscardAsync(request);
            case BlkRequestType.WriteZeroes:
                return WriteZeroesAsync(request);
            default:
                throw new ErrnoException(Errno.EOPNOTSUPP, $"Request type {request.Type} is not known");
        }
    }

    private async IoTask WriteAndFlushAsync(VirtioBlkRequest request)
    {
        await _node.WriteAsync(request.Offset, request.Data);
        await _node.FlushAsync();
    }

    private async IoTask DiscardAsync(VirtioBlkRequest request)
    {
        for (int i = 0; i < request.RangeCount; i++)
        {
            BlkRange range = request.Ranges[i];
            await _node.DiscardAsync((long)range.Sector << SectorShift, (long)range.SectorCount << SectorShift);
        }
    }

    private async IoTask WriteZeroesAsync(VirtioBlkRequest request)
    {
        for (int i = 0; i < request.RangeCount; i++)
        {
            BlkRange range = request.Ranges[i];
            ZeroFlags flags = (range.Flags & BlkRange.Unmap) != 0 ? ZeroFlags.MayUnmap : ZeroFlags.None;
            await _node.WriteZeroesAsync((long)range.Sector << SectorShift, (long)range.SectorCount << SectorShift, flags);
        }

        if (IsWriteThrough)
        {
            await _node.FlushAsync();
        }
    }

    private BlkLimits MakeLimits() => new()
    {
        CapacitySectors = (ulong)(_node.Length / _blockSize * _blockSize) >> SectorShift,
        BlockSize = _blockSize,
        IsReadOnly = !_isWritable,
        MaxDiscardSectors = MaxFastSectors,
        MaxWriteZeroesSectors = (_node.Features & BlockFeatures.FastZero) != 0 ? MaxFastSectors : MaxSlowSectors,
    };

    private VirtioBlkConfig MakeConfig()
    {
        const uint SegmentsOfSmallestQueue = 126; // 128 descriptors less header and status
        BlkLimits limits = _limits;
        int discardAlignment = Math.Max(_blockSize, _node.Limits.DiscardAlignment);
        return new VirtioBlkConfig
        {
            Capacity = limits.CapacitySectors,
            SegMax = SegmentsOfSmallestQueue,
            BlockSize = (uint)_blockSize,
            MinIoSize = 1,
            OptimalIoSize = (uint)(_node.Limits.OptimalTransfer / _blockSize),
            WriteBack = _cacheEnabled ? (byte)1 : (byte)0,
            QueueCount = (ushort)_queueCount,
            MaxDiscardSectors = _isWritable ? limits.MaxDiscardSectors : 0,
            MaxDiscardSegments = _isWritable ? (uint)limits.MaxRanges : 0,
            DiscardSectorAlignment = (uint)discardAlignment >> SectorShift,
            MaxWriteZeroesSectors = _isWritable ? limits.MaxWriteZeroesSectors : 0,
            MaxWriteZeroesSegments = _isWritable ? (uint)limits.MaxRanges : 0,
            WriteZeroesMayUnmap = _isWritable && (_node.Features & BlockFeatures.Discard) != 0 ? (byte)1 : (byte)0,
        };
    }
}
