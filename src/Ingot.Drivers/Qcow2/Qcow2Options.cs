using Ingot.Block;

namespace Ingot.Drivers.Qcow2;

/// <summary>What the user may say about an image when opening it.</summary>
internal sealed record Qcow2Options
{
    private const long MaxDefaultL2Cache = 32 << 20;
    private const long SequentialL2Cache = 256 << 10;
    private const int MinRefcountCacheClusters = 4;
    private const long DefaultCleanInterval = 600;

    private static readonly (string Name, MetadataSections Section)[] SectionSwitches =
    [
        ("main-header", MetadataSections.MainHeader), ("active-l1", MetadataSections.ActiveL1), ("active-l2", MetadataSections.ActiveL2),
        ("refcount-table", MetadataSections.RefcountTable), ("refcount-block", MetadataSections.RefcountBlock), ("snapshot-table", MetadataSections.SnapshotTable),
        ("inactive-l1", MetadataSections.InactiveL1), ("inactive-l2", MetadataSections.InactiveL2), ("bitmap-directory", MetadataSections.BitmapDirectory),
    ];

    /// <summary>Overrides what the image says; null to follow it.</summary>
    internal bool? LazyRefcounts { get; init; }

    /// <summary>Whether clusters that the guest discards are discarded in the file.</summary>
    internal bool PassDiscardRequest { get; init; } = true;

    /// <summary>What writes may not hit.</summary>
    internal MetadataSections OverlapCheck { get; init; } = MetadataSections.Cached;

    /// <summary>
    /// Whether table entries are in the file before a write completes, so that completed writes outlive the process without a flush. The guest of a
    /// server that is killed and started again goes on, and never repeats what was completed. Version 3 images are marked dirty meanwhile, as with lazy
    /// reference counts; that is what makes it cheap.
    /// </summary>
    internal bool PublishMetadata { get; init; }

    internal long? CacheSize { get; init; }

    internal long? L2CacheSize { get; init; }

    internal long? RefcountCacheSize { get; init; }

    internal long? L2CacheEntrySize { get; init; }

    /// <summary>How often cached pieces of tables that nobody has asked for are forgotten; zero for never.</summary>
    internal TimeSpan CacheCleanInterval { get; init; }

    internal static Qcow2Options Take(OptionSet options, OpenFlags flags)
    {
        var taken = new Qcow2Options
        {
            LazyRefcounts = options.TakeBool("lazy-refcounts"),
            PassDiscardRequest = options.TakeBool("pass-discard-request") ?? true,
            OverlapCheck = TakeOverlapCheck(options),
            PublishMetadata = options.TakeBool("publish-metadata") ?? (flags & OpenFlags.PublishMetadata) != 0,
            CacheSize = options.TakeSize("cache-size"),
            L2CacheSize = options.TakeSize("l2-cache-size"),
            RefcountCacheSize = options.TakeSize("refcount-cache-size"),
            L2CacheEntrySize = options.TakeSize("l2-cache-entry-size"),
            CacheCleanInterval = TakeCleanInterval(options),
        };

        options.TakeBool("pass-discard-snapshot");
        options.TakeBool("pass-discard-other");
        string? wrong = taken.CacheSize is null ? null
            : taken.L2CacheSize is not null && taken.RefcountCacheSize is not null ? "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time"
            : taken.L2CacheSize > taken.CacheSize ? "l2-cache-size may not exceed cache-size"
            : taken.RefcountCacheSize > taken.CacheSize ? "refcount-cache-size may not exceed cache-size"
            : null;
        return wrong is null ? taken : throw new OptionException(wrong);
    }

    /// <summary>Changes options as a user means it who names some of them: a new level replaces switches, a new total the parts.</summary>
    internal static void Change(OptionSet options, OptionSet changes)
    {
        string[] sizes = ["cache-size", "l2-cache-size", "refcount-cache-size"];
        bool hasLevel = changes.Peek("overlap-check") is not null
            || (changes.Clone().TakeReference("overlap-check") is OptionSet checks && (checks.Has("template") || checks.Has(OptionSet.OwnValue)));
        if (hasLevel)
        {
            options.TakeReference("overlap-check");
        }
        else if (options.Peek("overlap-check") is { } level && changes.Has("overlap-check"))
        {
            options.TakeReference("overlap-check");
            options.Set("overlap-check.template", level);
        }

        foreach (string part in changes.Has("cache-size") ? sizes[1..] : [])
        {
            options.TakeReference(part);
        }

        options.Merge(changes);
        if (!changes.Has("cache-size") && sizes.All(options.Has))
        {
            options.TakeReference("cache-size");
        }
    }

    private static TimeSpan TakeCleanInterval(OptionSet options)
    {
        long seconds = options.TakeNumber("cache-clean-interval") ?? DefaultCleanInterval;
        return seconds is >= 0 and <= uint.MaxValue ? TimeSpan.FromSeconds(seconds) : throw new OptionException("Cache clean interval too big");
    }

    // A template as the whole value or beside switches for single sections.
    private static MetadataSections TakeOverlapCheck(OptionSet options)
    {
        object? given = options.TakeReference("overlap-check");
        OptionSet switches = given as OptionSet ?? new OptionSet();
        string? level = given as string ?? switches.TakeString(OptionSet.OwnValue);
        string? named = switches.TakeString("template");
        if (level is not null && named is not null && level != named)
        {
            throw new OptionException($"Conflicting values for qcow2 options 'overlap-check' ('{level}') and 'overlap-check.template' ('{named}')");
        }

        string template = level ?? named ?? "cached";
        MetadataSections sections = template switch
        {
            "none" => MetadataSections.None,
            "constant" => MetadataSections.Constant,
            "cached" => MetadataSections.Cached,
            "all" => MetadataSections.All,
            _ => throw new OptionException($"Unsupported value '{template}' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all"),
        };
        foreach ((string name, MetadataSections section) in SectionSwitches)
        {
            sections = switches.TakeBool(name) switch
            {
                null => sections,
                true => sections | section,
                false => sections & ~section,
            };
        }

        switches.RefuseRest("option 'overlap-check'");
        return sections;
    }

    /// <summary>Bytes of an L2 table that are cached as one piece.</summary>
    internal int L2SliceLength(Qcow2Geometry geometry) => (int)(L2CacheEntrySize ?? geometry.SliceLength);

    /// <summary>Refuses what does not fit the image.</summary>
    internal void CheckFor(Qcow2Geometry geometry, long imageSize)
    {
        const int SmallestEntry = 512;
        if (L2CacheEntrySize is { } size && (size < SmallestEntry || size > geometry.ClusterLength || !long.IsPow2(size)))
        {
            throw new OptionException($"L2 cache entry size must be a power of two between {SmallestEntry} and the cluster size ({geometry.ClusterLength})");
        }

        long l2Bytes = Math.Min(L2CacheSize ?? 0, geometry.ClustersFor(imageSize) << geometry.L2EntryBits);
        string? wrong = l2Bytes / (L2CacheEntrySize ?? geometry.ClusterLength) > int.MaxValue ? "L2 cache size too big"
            : RefcountCacheSize / geometry.ClusterLength > int.MaxValue ? "Refcount cache size too big"
            : null;
        if (wrong is not null)
        {
            throw new OptionException(wrong);
        }
    }

    /// <summary>Bytes for L2 tables and for refcount blocks. Memory is taken as it is needed.</summary>
    internal (long L2, long Refcount) CacheSizes(Qcow2Geometry geometry, Qcow2Header header, OpenFlags flags)
    {
        bool isSequential = (flags & (OpenFlags.Sequential | OpenFlags.Check)) != 0 && L2CacheSize is null && CacheSize is null;
        long all = geometry.ClustersFor(header.Size) << geometry.L2EntryBits;
        all = isSequential ? Math.Min(all, SequentialL2Cache) : all;
        long leastRefcount = MinRefcountCacheClusters * (long)geometry.ClusterLength;
        if (CacheSize is not { } sum)
        {
            return (Math.Min(L2CacheSize ?? MaxDefaultL2Cache, all), RefcountCacheSize ?? leastRefcount);
        }

        return L2CacheSize is { } l2 ? (l2, sum - l2)
            : RefcountCacheSize is { } refcount ? (sum - refcount, refcount)
            : all >= sum ? (Math.Max(0, sum - leastRefcount), Math.Min(sum, leastRefcount))
            : (all, sum - all);
    }
}
