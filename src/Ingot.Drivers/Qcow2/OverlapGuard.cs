using System.Buffers.Binary;
using Ingot.Io;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Parts of an image that writes must not hit, in the order of QEMU's option overlap-check.</summary>
[Flags]
internal enum MetadataSections
{
    None = 0,
    MainHeader = 1,
    ActiveL1 = 2,
    ActiveL2 = 4,
    RefcountTable = 8,
    RefcountBlock = 16,
    SnapshotTable = 32,
    InactiveL1 = 64,
    InactiveL2 = 128,
    BitmapDirectory = 256,
    Constant = MainHeader | ActiveL1 | RefcountTable | SnapshotTable | BitmapDirectory,
    Cached = Constant | ActiveL2 | RefcountBlock | InactiveL1,
    All = Cached | InactiveL2,
}

/// <summary>
/// Knows which clusters hold metadata, so that corrupt tables can't lead a write into them. Follows the tables: a table that was replaced is looked at
/// again, an entry that changes is heard of. Inactive L2 tables are read from the file, before a change that finds other snapshots than the last one did.
/// </summary>
internal sealed class OverlapGuard(Qcow2Image image, MetadataSections sections)
{
    private static readonly (MetadataSections Section, string Name)[] Names =
    [
        (MetadataSections.MainHeader, "qcow2_header"), (MetadataSections.ActiveL1, "active L1 table"), (MetadataSections.ActiveL2, "active L2 table"),
        (MetadataSections.RefcountTable, "refcount table"), (MetadataSections.RefcountBlock, "refcount block"), (MetadataSections.SnapshotTable, "snapshot table"),
        (MetadataSections.InactiveL1, "inactive L1 table"), (MetadataSections.InactiveL2, "inactive L2 table"), (MetadataSections.BitmapDirectory, "bitmap directory"),
    ];

    private readonly Qcow2Geometry _geometry = image.Geometry;
    private readonly ClusterSet _clusters = new();
    private PagedTable? _l1;
    private PagedTable? _refcounts;
    private object? _snapshots;
    private object? _extensions;
    private object? _inactiveOf;
    private List<long> _inactiveTables = [];

    /// <summary>True when inactive L2 tables must be read before the next change.</summary>
    internal bool IsStale => (sections & MetadataSections.InactiveL2) != 0 && !ReferenceEquals(_inactiveOf, image.Snapshots);

    /// <summary>Whether a part of the file holds no metadata that is guarded.</summary>
    internal bool IsFree(long offset, long length)
    {
        if (sections == MetadataSections.None)
        {
            return true;
        }

        bool isCurrent = ReferenceEquals(_l1, image.Map.L1) && ReferenceEquals(_refcounts, image.Refcounts.Table)
            && ReferenceEquals(_snapshots, image.Snapshots) && ReferenceEquals(_extensions, image.Header.Current.Extensions);
        if (!isCurrent)
        {
            Rebuild();
        }

        return !_clusters.Intersects(offset >> _geometry.ClusterBits, (offset + length - 1) >> _geometry.ClusterBits);
    }

    /// <summary>What lies in a part of the file that is not free.</summary>
    internal string Describe(long offset, long length)
    {
        var part = new ClusterSet();
        for (long cluster = _geometry.ClusterOf(offset); cluster <= _geometry.ClusterOf(offset + length - 1); cluster++)
        {
            part.Add(cluster);
        }

        foreach ((MetadataSections section, string name) in Names)
        {
            if ((sections & section) != 0 && RangesOf(section).Any(r => r.Length > 0 && part.Intersects(_geometry.ClusterOf(r.Offset), _geometry.ClusterOf(r.Offset + r.Length - 1))))
            {
                return name;
            }
        }

        return "metadata";
    }

    /// <summary>Reads where the L2 tables of snapshots are.</summary>
    internal async IoTask LoadInactiveAsync()
    {
        SnapshotTable snapshots = image.Snapshots;
        var tables = new List<long>();
        foreach (Snapshot snapshot in snapshots.Snapshots)
        {
            tables.AddRange((await snapshot.ReadL1Async(image)).Targets);
        }

        _inactiveTables = tables;
        _inactiveOf = snapshots;
        _l1 = null;
    }

    private void Rebuild()
    {
        _clusters.Clear();
        (_l1, _refcounts, _snapshots, _extensions) = (image.Map.L1, image.Refcounts.Table, image.Snapshots, image.Header.Current.Extensions);
        foreach ((MetadataSections section, _) in Names)
        {
            foreach ((long offset, long length) in (sections & section) != 0 ? RangesOf(section) : [])
            {
                for (long cluster = _geometry.ClusterOf(offset); length > 0 && cluster <= _geometry.ClusterOf(offset + length - 1); cluster++)
                {
                    _clusters.Add(cluster);
                }
            }
        }

        _l1.Changed = (sections & MetadataSections.ActiveL2) != 0 ? Follow : null;
        _refcounts.Changed = (sections & MetadataSections.RefcountBlock) != 0 ? Follow : null;
    }

    // A table that a snapshot still has counts as inactive from now on.
    private void Follow(ulong old, ulong value)
    {
        long gone = (long)(old & OffsetMask);
        long added = (long)(value & OffsetMask);
        if (gone != 0 && gone != added && !(IsInactiveGuarded && _inactiveTables.Contains(gone)))
        {
            _clusters.Remove(_geometry.ClusterOf(gone));
        }

        if (added != 0)
        {
            _clusters.Add(_geometry.ClusterOf(added));
        }
    }

    private bool IsInactiveGuarded => (sections & MetadataSections.InactiveL2) != 0;

    private IEnumerable<(long Offset, long Length)> RangesOf(MetadataSections section)
    {
        long cluster = _geometry.ClusterLength;
        return section switch
        {
            MetadataSections.MainHeader => [(0, cluster)],
            MetadataSections.ActiveL1 => [(image.Map.L1.Offset, image.Map.L1.Count * 8L)],
            MetadataSections.ActiveL2 => image.Map.L1.Targets.Select(t => (t, cluster)),
            MetadataSections.RefcountTable => [(image.Refcounts.Table.Offset, image.Refcounts.Table.Count * 8L)],
            MetadataSections.RefcountBlock => image.Refcounts.Table.Targets.Select(t => (t, cluster)),
            MetadataSections.SnapshotTable => [(image.Header.Current.SnapshotsOffset, image.Snapshots.Length)],
            MetadataSections.InactiveL1 => image.Snapshots.Snapshots.Where(s => !s.IsTableTooLarge && s.IsTableAligned(_geometry)).Select(s => (s.L1Offset, s.L1Entries * 8L)),
            MetadataSections.InactiveL2 => _inactiveTables.Select(t => (t, cluster)),
            _ => BitmapDirectory(),
        };
    }

    private IEnumerable<(long Offset, long Length)> BitmapDirectory()
    {
        Qcow2Header header = image.Header.Current;
        byte[]? data = header.Extensions.FirstOrDefault(e => e.Type == ExtensionBitmaps)?.Data;
        if (data is not { Length: >= 24 } || (header.Autoclear & AutoclearBitmaps) == 0)
        {
            return [];
        }

        ulong length = BinaryPrimitives.ReadUInt64BigEndian(data.AsSpan(8));
        ulong offset = BinaryPrimitives.ReadUInt64BigEndian(data.AsSpan(16));
        return length <= MaxRefcountTableBytes * 8UL && offset <= MaxHostOffset ? [((long)offset, (long)length)] : [];
    }
}
