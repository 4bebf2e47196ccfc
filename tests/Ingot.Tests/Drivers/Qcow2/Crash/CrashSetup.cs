namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>The kind of image that a workload runs on.</summary>
internal sealed record CrashSetup
{
    internal int ClusterBits { get; init; } = 12;

    internal int Length { get; init; } = 256 << 10;

    internal string Version { get; init; } = "v3";

    internal bool IsLazy { get; init; }

    internal bool PublishesMetadata { get; init; }

    internal int BackingLength { get; init; }

    internal int RefcountBits { get; init; } = 16;

    internal bool IsExtended { get; init; }

    internal bool HasDataFile { get; init; }

    internal int Steps { get; init; } = 40;

    internal int States { get; init; } = 40;

    /// <summary>True when an image that was not closed is marked dirty, and repaired when it is opened.</summary>
    internal bool IsMarkedDirty => Version != "v2" && (IsLazy || PublishesMetadata);

    public override string ToString()
        => $"clusters of {1 << ClusterBits}, {Length} bytes, {Version}, backing {BackingLength}, refcount bits {RefcountBits}"
            + $"{(IsLazy ? ", lazy" : "")}{(PublishesMetadata ? ", published" : "")}{(IsExtended ? ", extended" : "")}{(HasDataFile ? ", data file" : "")}";

    internal static CrashSetup Draw(int seed)
    {
        var random = new Random(seed);
        int bits = new[] { 9, 9, 10, 12, 12, 14, 16 }[random.Next(7)];
        bool isVersion2 = random.Next(6) == 0;
        bool isExtended = !isVersion2 && bits >= 14 && random.Next(2) == 0;
        int length = bits >= 14 ? 1 << 20 : 192 << 10;
        return new CrashSetup
        {
            ClusterBits = bits,
            Length = length,
            Version = isVersion2 ? "v2" : "v3",
            IsLazy = !isVersion2 && random.Next(4) == 0,
            PublishesMetadata = random.Next(4) == 0,
            BackingLength = random.Next(3) == 0 ? random.Next(1, (length / 512) + 1) * 512 : 0,
            RefcountBits = isVersion2 ? 16 : new[] { 16, 16, 8, 64 }[random.Next(4)],
            IsExtended = isExtended,
            HasDataFile = !isVersion2 && random.Next(8) == 0,
        };
    }
}
