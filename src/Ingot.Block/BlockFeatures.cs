namespace Ingot.Block;

/// <summary>What a node can do. A bit that is missing is asked for before the call, never found out by an error.</summary>
[Flags]
public enum BlockFeatures
{
    /// <summary>Nothing but reading.</summary>
    None = 0,

    /// <summary>Writing, and all that changes data.</summary>
    Write = 1,

    /// <summary>Write zeroes without sending a buffer of zeroes.</summary>
    FastZero = 2,

    /// <summary>Discard has an effect.</summary>
    Discard = 4,

    /// <summary>A write with <see cref="WriteFlags.Fua"/> is cheaper than a write and a flush.</summary>
    Fua = 8,

    /// <summary>May be used from any loop at the same time; otherwise only from the loop that opened it.</summary>
    AnyLoop = 16,

    /// <summary>The size can change.</summary>
    Resize = 32,

    /// <summary>Ranges that were never written read as zeroes.</summary>
    ZeroInitialized = 64,

    /// <summary>Has a place for a backing node.</summary>
    SupportsBacking = 128,

    /// <summary>Writes past the end extend the node, as those to a regular file do.</summary>
    Growable = 256,

    /// <summary>The kernel can copy to and from it: see <see cref="BlockNode.CopyRangeAsync"/>. Where an extent says that its bytes lie, they may be read directly.</summary>
    CopyRange = 512,
}

/// <summary>How durable a write is when it completes.</summary>
[Flags]
public enum WriteFlags
{
    /// <summary>May be lost by a power cut until a flush completes.</summary>
    None = 0,

    /// <summary>Durable at completion (force unit access).</summary>
    Fua = 1,

    /// <summary>Store compressed where the format can; for whole, cluster-aligned ranges that were never written.</summary>
    Compressed = 2,
}

/// <summary>What a node may do to make a range read as zeroes.</summary>
[Flags]
public enum ZeroFlags
{
    /// <summary>Zeroes, with the space kept.</summary>
    None = 0,

    /// <summary>The space may be given back.</summary>
    MayUnmap = 1,

    /// <summary>Fail with EOPNOTSUPP rather than write a buffer of zeroes.</summary>
    NoFallback = 2,

    /// <summary>Durable at completion.</summary>
    Fua = 4,
}

/// <summary>What becomes of writes whose data are all zeroes (detect-zeroes).</summary>
public enum ZeroDetection
{
    /// <summary>They are written like others.</summary>
    Off,

    /// <summary>They become zero writes that keep their space.</summary>
    On,

    /// <summary>They become zero writes that may give their space back.</summary>
    Unmap,
}

/// <summary>How the space of an image is prepared.</summary>
public enum Preallocation
{
    /// <summary>Not at all.</summary>
    Off,

    /// <summary>Tables only.</summary>
    Metadata,

    /// <summary>Space reserved by the file system.</summary>
    Falloc,

    /// <summary>Zeroes written.</summary>
    Full,
}
