using System.Buffers.Binary;
using System.Text;
using Ingot.Block;
using Ingot.Io;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>One internal snapshot: what people see of it, where its L1 table lies, and extra data of later versions of the format.</summary>
internal sealed record Snapshot(SnapshotInfo Info, long L1Offset, int L1Entries, byte[] UnknownExtra);

/// <summary>The internal snapshots of an image, as they lie in the file; <see cref="Qcow2Snapshots"/> makes and deletes them.</summary>
internal sealed record SnapshotTable(IReadOnlyList<Snapshot> Snapshots, int Length)
{
    private const int FixedLength = 40;
    private const int KnownExtra = 24;
    private const int MaxExtra = 1024;
    private const int MaxTableLength = 64 << 20;

    internal static SnapshotTable Empty { get; } = new([], 0);

    internal static async IoTask<SnapshotTable> ReadAsync(HostFile file, Qcow2Header header)
    {
        var snapshots = new List<Snapshot>();
        long offset = header.SnapshotsOffset;
        for (int i = 0; i < header.SnapshotCount; i++)
        {
            byte[] head = await file.ReadBytesAsync(offset, FixedLength);
            int idLength = BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(12));
            int nameLength = BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(14));
            uint extraLength = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(36));
            if (extraLength > MaxExtra)
            {
                throw new ImageFormatException($"Image '{file.FileName}': Too much extra metadata in snapshot table entry {i} ({extraLength} bytes)");
            }

            byte[] rest = await file.ReadBytesAsync(offset + FixedLength, (int)extraLength + idLength + nameLength);
            snapshots.Add(Parse(file, header, i, head, rest, (int)extraLength, idLength));
            offset += (FixedLength + rest.Length + 7) & ~7;
            if (offset - header.SnapshotsOffset > MaxTableLength)
            {
                throw new ImageFormatException($"Image '{file.FileName}': Snapshot table is too large, entry {i} lies beyond {MaxTableLength} bytes");
            }
        }

        return new SnapshotTable(snapshots, (int)(offset - header.SnapshotsOffset));
    }

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
        byte[] id = Encoding.UTF8.GetBytes(info.Id);
        byte[] name = Encoding.UTF8.GetBytes(info.Name);
        int extraLength = KnownExtra + snapshot.UnknownExtra.Length;
        int length = FixedLength + extraLength + id.Length + name.Length;
        var entry = new byte[(length + 7) & ~7];
        BinaryPrimitives.WriteUInt64BigEndian(entry, (ulong)snapshot.L1Offset);
        BinaryPrimitives.WriteUInt32BigEndian(entry.AsSpan(8), (uint)snapshot.L1Entries);
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

    private static Snapshot Parse(HostFile file, Qcow2Header header, int index, byte[] head, byte[] rest, int extraLength, int idLength)
    {
        ulong l1Offset = BinaryPrimitives.ReadUInt64BigEndian(head);
        uint l1Entries = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(8));
        if (l1Entries > MaxL1Bytes / 8 || l1Offset > MaxHostOffset || header.Geometry.InCluster((long)l1Offset) != 0)
        {
            throw new ImageFormatException($"Image '{file.FileName}': snapshot {index} has an invalid L1 table (offset {l1Offset}, {l1Entries} entries)");
        }

        ReadOnlySpan<byte> extra = rest.AsSpan(0, extraLength);
        long vmState = extraLength >= 8 ? (long)BinaryPrimitives.ReadUInt64BigEndian(extra) : BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(32));
        long diskSize = extraLength >= 16 ? (long)BinaryPrimitives.ReadUInt64BigEndian(extra[8..]) : header.Size;
        ulong instructions = extraLength >= 24 ? BinaryPrimitives.ReadUInt64BigEndian(extra[16..]) : ulong.MaxValue;
        var info = new SnapshotInfo(
            Encoding.UTF8.GetString(rest, extraLength, idLength),
            Encoding.UTF8.GetString(rest.AsSpan(extraLength + idLength)),
            vmState,
            BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(16)),
            BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(20)),
            (long)BinaryPrimitives.ReadUInt64BigEndian(head.AsSpan(24)),
            instructions == ulong.MaxValue ? null : (long)instructions,
            diskSize);
        return new Snapshot(info, (long)l1Offset, (int)l1Entries, extraLength > KnownExtra ? extra[KnownExtra..].ToArray() : []);
    }
}
