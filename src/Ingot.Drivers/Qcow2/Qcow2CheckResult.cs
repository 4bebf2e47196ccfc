namespace Ingot.Drivers.Qcow2;

/// <summary>What a check repairs.</summary>
public enum Qcow2Repair
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Clusters that are counted but not used; nothing can be lost by that.</summary>
    Leaks,

    /// <summary>Everything that can be.</summary>
    All,
}

/// <summary>What a check found.</summary>
public sealed record Qcow2CheckResult
{
    /// <summary>Errors that can lead to loss of data, still there.</summary>
    public long Corruptions { get; internal set; }

    /// <summary>Clusters that are counted but not used, still so.</summary>
    public long Leaks { get; internal set; }

    /// <summary>Corruptions that were repaired.</summary>
    public long CorruptionsFixed { get; internal set; }

    /// <summary>Leaks that were repaired.</summary>
    public long LeaksFixed { get; internal set; }

    /// <summary>Things that could not be checked, for example because they could not be read.</summary>
    public long CheckErrors { get; internal set; }

    /// <summary>Where the last cluster in use ends in the file.</summary>
    public long ImageEndOffset { get; internal set; }

    /// <summary>Guest clusters.</summary>
    public long TotalClusters { get; internal set; }

    /// <summary>Guest clusters with space in the file.</summary>
    public long AllocatedClusters { get; internal set; }

    /// <summary>Allocated clusters that do not lie behind the one before; compressed ones count always.</summary>
    public long FragmentedClusters { get; internal set; }

    /// <summary>Guest clusters that are stored compressed.</summary>
    public long CompressedClusters { get; internal set; }
}
