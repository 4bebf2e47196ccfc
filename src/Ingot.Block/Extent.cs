namespace Ingot.Block;

/// <summary>What a range holds.</summary>
[Flags]
public enum ExtentFlags
{
    /// <summary>Nothing in this node: the backing node, or zeroes without one.</summary>
    None = 0,

    /// <summary>Stored bytes must be read to know the content; with <see cref="Zero"/>, space that the format counts as stored and the file below knows to be empty.</summary>
    Data = 1,

    /// <summary>Reads as zeroes.</summary>
    Zero = 2,

    /// <summary>Decided by this node, not by its backing node.</summary>
    Allocated = 4,

    /// <summary>Stored as is in the file at <see cref="Extent.HostOffset"/>.</summary>
    OffsetValid = 8,

    /// <summary>Stored compressed.</summary>
    Compressed = 16,
}

/// <summary>A range of a node of which one statement holds.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes, at least 1.</param>
/// <param name="Flags">The statement.</param>
/// <param name="HostOffset">Where the bytes lie in <paramref name="HostNode"/>; with <see cref="ExtentFlags.OffsetValid"/> only.</param>
/// <param name="HostNode">The node that <paramref name="HostOffset"/> counts in.</param>
public readonly record struct Extent(long Offset, long Length, ExtentFlags Flags, long HostOffset = 0, BlockNode? HostNode = null)
{
    /// <summary>The first byte after the range.</summary>
    public long End => Offset + Length;

    /// <summary>Stored bytes must be read to know the content.</summary>
    public bool IsData => (Flags & ExtentFlags.Data) != 0;

    /// <summary>Reads as zeroes.</summary>
    public bool IsZero => (Flags & ExtentFlags.Zero) != 0;

    /// <summary>Decided by this node, not by its backing node.</summary>
    public bool IsAllocated => (Flags & ExtentFlags.Allocated) != 0;
}
