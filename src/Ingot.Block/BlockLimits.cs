namespace Ingot.Block;

/// <summary>What requests must look like. All sizes are bytes.</summary>
public sealed record BlockLimits
{
    /// <summary>No demands.</summary>
    public static BlockLimits Default { get; } = new();

    /// <summary>Offsets and lengths must be multiples of this (a power of two); 1 for any byte.</summary>
    public int RequestAlignment { get; init; } = 1;

    /// <summary>Buffer addresses must be multiples of this; 1 for any.</summary>
    public int MemoryAlignment { get; init; } = 1;

    /// <summary>The size at which requests are served best; 0 when it does not matter. A format's cluster size.</summary>
    public int OptimalTransfer { get; init; }

    /// <summary>What a write that does not fill it has to fill up with older content: a format's cluster, or a part of it; 0 for the optimal transfer.</summary>
    public int AllocationUnit { get; init; }

    /// <summary>Discards are worth it from this size and alignment on; 0 when it does not matter.</summary>
    public int DiscardAlignment { get; init; }

    /// <summary>The largest read or write; 0 for no limit.</summary>
    public int MaxTransfer { get; init; }
}
