using System.Runtime.InteropServices;

namespace Ingot.Rings;

/// <summary>One piece of a request's data.</summary>
/// <param name="Address">Bytes from the start of the memory that both sides share.</param>
/// <param name="Length">Bytes.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct Segment(ulong Address, uint Length)
{
    /// <summary>Bytes of a segment where a ring allows only whole pages: NVMe's physical region pages.</summary>
    public const int PageSize = 4096;
}
