namespace Ingot.Virtio.Blk;

/// <summary>What a block device accepts; as in its configuration space. Immutable, replaced when the size changes.</summary>
public sealed record BlkLimits
{
    /// <summary>Sectors of 512 bytes.</summary>
    public required ulong CapacitySectors { get; init; }

    /// <summary>The logical block size: requests are multiples of it.</summary>
    public required int BlockSize { get; init; }

    /// <summary>Writes are refused.</summary>
    public required bool IsReadOnly { get; init; }

    /// <summary>The longest range of a discard, in sectors.</summary>
    public uint MaxDiscardSectors { get; init; }

    /// <summary>The longest range of a write-zeroes, in sectors.</summary>
    public uint MaxWriteZeroesSectors { get; init; }

    /// <summary>The most ranges of one discard or write-zeroes.</summary>
    public int MaxRanges { get; init; } = 32;
}
