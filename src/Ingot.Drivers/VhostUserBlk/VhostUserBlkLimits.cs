using System.Numerics;
using Ingot.Linux;
using Ingot.Virtio.Blk;

namespace Ingot.Drivers.VhostUserBlk;

/// <summary>What a device says of itself, checked: features and configuration space as the numbers that requests are shaped by.</summary>
internal sealed record VhostUserBlkLimits
{
    private const int MaxBlockSize = 1 << 20;
    private const int MaxSegmentCount = 1022;

    internal required int BlockSize { get; init; }

    internal required int MaxSegments { get; init; }

    internal required uint MaxSegmentSize { get; init; }

    internal required long MaxDiscard { get; init; }

    internal required long DiscardAlignment { get; init; }

    internal required long MaxWriteZeroes { get; init; }

    internal required bool CanFlush { get; init; }

    internal required bool CanSwitchCache { get; init; }

    internal required bool IsReadOnly { get; init; }

    internal required int OptimalTransfer { get; init; }

    internal bool CanDiscard => MaxDiscard > 0;

    internal bool CanWriteZeroes => MaxWriteZeroes > 0;

    internal static VhostUserBlkLimits From(string peer, ulong features, in VirtioBlkConfig config)
    {
        bool Has(ulong feature) => (features & feature) != 0;

        int blockSize = Has(BlkFeatures.BlockSize) ? CheckBlockSize(peer, config.BlockSize) : VirtioBlkConfig.SectorSize;
        long segmentSize = Has(BlkFeatures.SizeMax) && config.SizeMax > 0 ? config.SizeMax : VirtioBlkDriverOptions.DefaultMaxRequest;
        if (segmentSize < blockSize)
        {
            throw new ErrnoException(Errno.EPROTO, $"{peer} has a size_max of {segmentSize} bytes, less than a block of {blockSize}");
        }

        return new VhostUserBlkLimits
        {
            BlockSize = blockSize,
            MaxSegments = Has(BlkFeatures.SegMax) ? (int)Math.Clamp(config.SegMax, 1, MaxSegmentCount) : 1,
            MaxSegmentSize = (uint)(Math.Min(segmentSize, VirtioBlkDriverOptions.DefaultMaxRequest) / blockSize * blockSize),
            MaxDiscard = Has(BlkFeatures.Discard) ? Sectors(config.MaxDiscardSectors, blockSize) : 0,
            DiscardAlignment = Has(BlkFeatures.Discard) ? Math.Max((long)config.DiscardSectorAlignment * VirtioBlkConfig.SectorSize, blockSize) : 0,
            MaxWriteZeroes = Has(BlkFeatures.WriteZeroes) ? Sectors(config.MaxWriteZeroesSectors, blockSize) : 0,
            CanFlush = Has(BlkFeatures.Flush),
            CanSwitchCache = Has(BlkFeatures.ConfigWce),
            IsReadOnly = Has(BlkFeatures.ReadOnly),
            OptimalTransfer = Has(BlkFeatures.Topology) ? (int)Math.Min((long)config.OptimalIoSize * blockSize, 1 << 30) : 0,
        };
    }

    /// <summary>The size in bytes, whole blocks.</summary>
    internal static long CheckLength(string peer, int blockSize, ulong capacity)
        => capacity <= long.MaxValue / VirtioBlkConfig.SectorSize
            ? (long)capacity * VirtioBlkConfig.SectorSize / blockSize * blockSize
            : throw new ErrnoException(Errno.EPROTO, $"{peer} has a capacity of {capacity} sectors, which no disk can have");

    private static int CheckBlockSize(string peer, uint size)
        => size is >= VirtioBlkConfig.SectorSize and <= MaxBlockSize && BitOperations.IsPow2(size)
            ? (int)size
            : throw new ErrnoException(Errno.EPROTO, $"{peer} has a blk_size of {size}, which is not a power of two from {VirtioBlkConfig.SectorSize} to {MaxBlockSize}");

    private static long Sectors(uint count, int blockSize) => (long)count * VirtioBlkConfig.SectorSize / blockSize * blockSize;
}
