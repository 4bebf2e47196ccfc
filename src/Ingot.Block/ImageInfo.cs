namespace Ingot.Block;

/// <summary>Facts about an image that `info` prints. Members that do not apply are null.</summary>
public sealed record ImageInfo
{
    /// <summary>Bytes that the image takes on its host file system.</summary>
    public long? ActualSize { get; init; }

    /// <summary>Cluster size in bytes.</summary>
    public int? ClusterSize { get; init; }

    /// <summary>Where VM state begins in the format's own count of bytes, or null without such a place.</summary>
    public long? VmStateOffset { get; init; }

    /// <summary>The backing file's name as the image has it.</summary>
    public string? BackingFileName { get; init; }

    /// <summary>The backing file's name, made absolute or relative to the working directory.</summary>
    public string? FullBackingFileName { get; init; }

    /// <summary>The backing file's format as the image has it.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>True when the image was not closed cleanly.</summary>
    public bool IsDirty { get; init; }

    /// <summary>True when the content is encrypted.</summary>
    public bool IsEncrypted { get; init; }

    /// <summary>True when the format compresses.</summary>
    public bool IsCompressed { get; init; }

    /// <summary>Format-specific facts, as ordered pairs of a name in QAPI's spelling and a string, number, bool, list of <see cref="DirtyBitmapInfo"/>, pairs again, or list of pairs.</summary>
    public IReadOnlyList<(string Key, object Value)>? Specific { get; init; }

    /// <summary>Internal snapshots.</summary>
    public IReadOnlyList<SnapshotInfo> Snapshots { get; init; } = [];
}

/// <summary>One dirty bitmap that an image keeps.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Granularity">Bytes that a bit stands for.</param>
/// <param name="IsInUse">True when it is not up to date in the file.</param>
/// <param name="IsAuto">True when it records changes.</param>
public sealed record DirtyBitmapInfo(string Name, long Granularity, bool IsInUse, bool IsAuto)
{
    /// <summary>The flags in QAPI's spelling.</summary>
    public IEnumerable<string> Flags => ((string[])[IsInUse ? "in-use" : "", IsAuto ? "auto" : ""]).Where(f => f.Length > 0);
}

/// <summary>One internal snapshot.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Name">Its name.</param>
/// <param name="VmStateSize">Bytes of VM state.</param>
/// <param name="DateSeconds">Seconds since 1970.</param>
/// <param name="DateNanoseconds">Nanoseconds within the second.</param>
/// <param name="VmClockNanoseconds">The VM's clock.</param>
/// <param name="InstructionCount">The instruction counter, or null.</param>
/// <param name="DiskSize">The virtual size in bytes at that time.</param>
public sealed record SnapshotInfo(string Id, string Name, long VmStateSize, long DateSeconds, long DateNanoseconds, long VmClockNanoseconds, long? InstructionCount, long DiskSize);
