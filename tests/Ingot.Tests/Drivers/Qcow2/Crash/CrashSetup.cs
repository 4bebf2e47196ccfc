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

    /// <summary>True when the data file must read as the disk does.</summary>
    internal bool IsDataFileRaw { get; init; }

    internal string Preallocation { get; init; } = "off";

    internal string Compression { get; init; } = "zlib";

    internal bool PassesDiscards { get; init; } = true;

    internal bool HasSnapshots { get; init; }

    internal bool HasBitmaps { get; init; }

    /// <summary>True when the backing file is a qcow2 image that gets what the disk holds now and then.</summary>
    internal bool Commits { get; init; }

    /// <summary>True when names and format options are changed.</summary>
    internal bool ChangesHeader { get; init; }

    /// <summary>"luks", "aes", or null for an image that is not encrypted.</summary>
    internal string? Encryption { get; init; }

    internal int Steps { get; init; } = 40;

    internal int States { get; init; } = 40;

    /// <summary>True when an image that was not closed is marked dirty, and repaired when it is opened.</summary>
    internal bool IsMarkedDirty => Version != "v2" && (IsLazy || PublishesMetadata);

    public override string ToString()
        => $"clusters of {1 << ClusterBits}, {Length} bytes, {Version}, backing {BackingLength}, refcount bits {RefcountBits}"
            + $"{(IsLazy ? ", lazy" : "")}{(PublishesMetadata ? ", published" : "")}{(IsExtended ? ", extended" : "")}{(HasDataFile ? ", data file" : "")}"
            + $"{(IsDataFileRaw ? " raw" : "")}, preallocation {Preallocation}, {Compression}{(PassesDiscards ? "" : ", keeps discards")}{(HasSnapshots ? ", snapshots" : "")}"
            + $"{(HasBitmaps ? ", bitmaps" : "")}{(Commits ? ", commits" : "")}{(ChangesHeader ? ", header changes" : "")}{(Encryption is null ? "" : $", {Encryption}")}";

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

    /// <summary>As <see cref="Draw"/>, with more that changes an image.</summary>
    internal static CrashSetup DrawMore(int seed)
    {
        CrashSetup setup = Draw(seed);
        var random = new Random(seed ^ 0x5eed);
        bool isVersion2 = setup.Version == "v2";
        bool commits = setup.BackingLength > 0 && !setup.HasDataFile && random.Next(2) == 0;
        bool isRaw = setup.HasDataFile && setup.BackingLength == 0 && random.Next(2) == 0;
        bool canPreallocate = (setup.BackingLength == 0 || setup.IsExtended) && !isRaw;
        return setup with
        {
            IsDataFileRaw = isRaw,
            Preallocation = canPreallocate && random.Next(4) == 0 ? new[] { "metadata", "falloc", "full" }[random.Next(3)] : "off",
            Compression = !isVersion2 && random.Next(3) == 0 ? "zstd" : "zlib",
            PassesDiscards = random.Next(4) != 0,
            HasSnapshots = !setup.HasDataFile && !commits && random.Next(2) == 0,
            HasBitmaps = !isVersion2 && random.Next(2) == 0,
            Commits = commits,
            ChangesHeader = !isRaw && random.Next(3) == 0,
            Encryption = isRaw ? null : new Random(seed ^ 0xc0de).Next(12) switch { 0 => "luks", 1 => "aes", _ => null },
        };
    }
}
