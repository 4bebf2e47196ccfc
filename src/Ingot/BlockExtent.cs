using Ingot.Block;

namespace Ingot;

/// <summary>A range of a device of which one statement holds.</summary>
/// <param name="Offset">The first byte.</param>
/// <param name="Length">Bytes, at least 1.</param>
/// <param name="IsAllocated">True when the image itself holds the range; false when it comes from a backing file or was never written.</param>
/// <param name="IsZero">True when the range reads as zeroes.</param>
public readonly record struct BlockExtent(long Offset, long Length, bool IsAllocated, bool IsZero)
{
    /// <summary>The first byte after the range.</summary>
    public long End => Offset + Length;

    internal static BlockExtent From(in Extent extent) => new(extent.Offset, extent.Length, extent.IsAllocated, extent.IsZero);
}
