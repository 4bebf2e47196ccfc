namespace Ingot.Block;

/// <summary>How a <see cref="BlockCopier"/> works. All sizes are bytes.</summary>
public sealed record CopyOptions
{
    /// <summary>Requests of data are at most this long, and runs of zeroes are looked for in units of at most this.</summary>
    public const int MaxChunk = 2 << 20;

    /// <summary>How long requests of data are when nothing asks for more: what is in flight then still fits into a processor's cache between read and write.</summary>
    public const int PreferredChunk = 512 << 10;

    /// <summary>Chunks in flight at the same time.</summary>
    public int Parallel { get; init; } = 8;

    /// <summary>Runs of zeroes of this length and alignment stay holes in the target; 0 looks for none and writes everything.</summary>
    public int SparseLength { get; init; } = 4096;

    /// <summary>Whether zeroes are also looked for in what was read, not only in what the source knows of itself.</summary>
    public bool DetectsZeroes { get; init; } = true;

    /// <summary>The target reads as zeroes before the copy, so zeroes need not be written.</summary>
    public bool TargetIsZero { get; init; }

    /// <summary>A node of the source's chain whose content the target shows already: only what is decided above it is copied. Null copies everything.</summary>
    public BlockNode? Below { get; init; }

    /// <summary>Store compressed.</summary>
    public bool Compress { get; init; }

    /// <summary>Start writes as soon as their data is read, even before those of earlier offsets.</summary>
    public bool OutOfOrder { get; init; }

    /// <summary>Have the kernel copy where source and target are files below all their formats. No zeroes are looked for in what it copies.</summary>
    public bool Offload { get; init; }

    /// <summary>Bytes a second; 0 for no limit.</summary>
    public long BytesPerSecond { get; init; }

    /// <summary>First byte of the source.</summary>
    public long SourceOffset { get; init; }

    /// <summary>Bytes to copy; negative for all from <see cref="SourceOffset"/> on.</summary>
    public long Length { get; init; } = -1;

    /// <summary>Whether failures say at which byte the copy was.</summary>
    public bool NamesOffsets { get; init; }

    /// <summary>Called for what can't be read, in the order of offsets within a chunk; zeroes take its place. Null fails the copy instead.</summary>
    public Action<SalvageProblem>? Salvage { get; init; }
}
