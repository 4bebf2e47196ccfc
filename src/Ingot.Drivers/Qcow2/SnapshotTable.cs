using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// One internal snapshot: what people see of it, where its L1 table lies, and extra data of later versions of the format. The table may be said to lie where none
/// can; the disk and other snapshots are of use all the same, so that only what needs the table fails.
/// </summary>
internal sealed record Snapshot(SnapshotInfo Info, long L1Offset, uint L1Entries, byte[] UnknownExtra)
{
    /// <summary>False for an entry without its own disk size, which version 3 demands.</summary>
    internal bool IsComplete { get; init; } = true;

    /// <summary>True when the L1 table has more entries than any.</summary>
    internal bool IsTableTooLarge => L1Entries > MaxL1Bytes / 8;

    /// <summary>Whether an L1 table may lie where this one is said to.</summary>
    internal bool IsTableAligned(Qcow2Geometry geometry) => (ulong)L1Offset <= MaxHostOffset && geometry.InCluster(L1Offset) == 0;

    /// <summary>Refuses a place and a size of the L1 table that none can have.</summary>
    /// <exception cref="ErrnoException">It has.</exception>
    internal void RefuseBadTable(Qcow2Geometry geometry)
    {
        if (IsTableTooLarge)
        {
            throw new ErrnoException(Errno.EFBIG, $"Snapshot L1 table too large: {L1Entries} entries in snapshot {Info.Id} ({Info.Name})");
        }

        if (!IsTableAligned(geometry))
        {
            throw new ErrnoException(Errno.EINVAL, $"Snapshot L1 table offset invalid: 0x{L1Offset:x} in snapshot {Info.Id} ({Info.Name})");
        }
    }

    /// <summary>Reads the L1 table.</summary>
    /// <param name="image">The image.</param>
    /// <param name="most">Entries that are wanted at most.</param>
    internal IoTask<PagedTable> ReadL1Async(Qcow2Image image, long most = long.MaxValue)
    {
        RefuseBadTable(image.Geometry);
        int count = (int)Math.Min(L1Entries, most);
        if ((image.Flags & OpenFlags.Untrusted) != 0 && L1Offset + (count * 8L) > image.File.Length)
        {
            throw new ImageFormatException($"Untrusted image '{image.File.FileName}': the L1 table of snapshot {Info.Id} ({Info.Name}), {count} entries at 0x{L1Offset:x}, ends behind the file");
        }

        return PagedTable.ReadAsync(image.File, L1Offset, count);
    }
}

/// <summary>
/// The internal snapshots of an image, and the bytes that they take in the file. <see cref="SnapshotTableReader"/> reads them, <see cref="Qcow2Snapshots"/>
/// makes and deletes them.
/// </summary>
internal sealed record SnapshotTable(IReadOnlyList<Snapshot> Snapshots, int Length)
{
    internal const int FixedLength = 40;
    internal const int KnownExtra = 24;
    internal const int MaxExtra = 1024;
    internal const int MaxTableLength = 64 << 20;

    internal static SnapshotTable Empty { get; } = new([], 0);

    /// <summary>The table as it goes to the file.</summary>
    /// <exception cref="OptionException">It is larger than the format allows.</exception>
    internal static byte[] Encode(IReadOnlyList<Snapshot> snapshots)
    {
        var table = new MemoryStream();
        foreach (Snapshot snapshot in snapshots)
        {
            byte[] entry = Encode(snapshot);
            table.Write(entry);
            if (table.Length > MaxTableLength)
            {
                throw new OptionException($"The snapshot table would be larger than {MaxTableLength} bytes");
            }
        }

        return table.ToArray();
    }

    private static byte[] Encode(Snapshot snapshot)
    {
        SnapshotInfo info = snapshot.Info;
        byte[] id = NativeText.Encode(info.Id);
        byte[] name = NativeText.Encode(info.Name);
        int extraLength = KnownExtra + snapshot.UnknownExtra.Length;
        int length = FixedLength + extraLength + id.Length + name.Length;
        var entry = new byte[(length + 7) & ~7];
        BinaryPrimitives.WriteUInt64BigEndian(entry, (ulong)snapshot.L1Offset);
        BinaryPrimitives.WriteUInt32BigEndian(entry.AsSpan(8), snapshot.L1Entries);
        BinaryPrimitives.WriteUInt16BigEndian(entry.AsSpan(12), (ushort)id.Length);
        BinaryPrimitives.WriteUInt16BigEndian(entry.AsSpan(14), (ushort)name.Length);
        BinaryPrimitives.WriteUInt32BigEndian(entry.AsSpan(16), (uint)info.DateSeconds);
        BinaryPrimitives.WriteUInt32BigEndian(entry.AsSpan(20), (uint)info.DateNanoseconds);
        BinaryPrimitives.WriteUInt64BigEndian(entry.AsSpan(24), (ulong)info.VmClockNanoseconds);
        BinaryPrimitives.WriteUInt32BigEndian(entry.AsSpan(32), info.VmStateSize <= uint.MaxValue ? (uint)info.VmStateSize : 0);
        BinaryPrimitives.WriteUInt32BigEndian(entry.AsSpan(36), (uint)extraLength);
        Span<byte> extra = entry.AsSpan(FixedLength);
        BinaryPrimitives.WriteUInt64BigEndian(extra, (ulong)info.VmStateSize);
        BinaryPrimitives.WriteUInt64BigEndian(extra[8..], (ulong)info.DiskSize);
        BinaryPrimitives.WriteUInt64BigEndian(extra[16..], info.InstructionCount is { } count ? (ulong)count : ulong.MaxValue);
        snapshot.UnknownExtra.CopyTo(extra[KnownExtra..]);
        id.CopyTo(extra[extraLength..]);
        name.CopyTo(extra[(extraLength + id.Length)..]);
        return entry;
    }
}
