using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.SnapshotTable;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Reads the snapshot table from the file, entry by entry. One that goes beyond the format's limits is refused, or cut down to them for a check that repairs:
/// extra data beyond what may be kept is dropped from an entry, and snapshots that do not fit any more are dropped from the end.
/// </summary>
/// <param name="file">The image file.</param>
/// <param name="header">Its header.</param>
internal sealed class SnapshotTableReader(HostFile file, Qcow2Header header)
{
    private const int WindowLength = 64 << 10;

    private byte[] _window = [];
    private long _windowOffset;
    private long _offset = header.SnapshotsOffset;

    /// <summary>Told of everything that is dropped; null to refuse instead.</summary>
    internal Action<string>? Dropping { get; init; }

    /// <summary>Entries whose extra data was dropped.</summary>
    internal long Shortened { get; private set; }

    /// <summary>Reads.</summary>
    /// <param name="count">How many snapshots.</param>
    /// <exception cref="ErrnoException">EFBIG: the table is too large. EINVAL: an entry is wrong.</exception>
    internal async IoTask<SnapshotTable> ReadAsync(long count)
    {
        var snapshots = new List<Snapshot>();
        long kept = 0;
        for (int i = 0; i < count; i++)
        {
            long start = _offset;
            (Snapshot snapshot, int length) = await ReadEntryAsync(i);
            kept = ((kept + 7) & ~7L) + length;
            if (kept > MaxTableLength || _offset - header.SnapshotsOffset > int.MaxValue)
            {
                DropRest(count - i);
                _offset = start;
                break;
            }

            snapshots.Add(snapshot);
        }

        return new SnapshotTable(snapshots, (int)(_offset - header.SnapshotsOffset));
    }

    private void DropRest(long count)
    {
        if (Dropping is null)
        {
            throw new ErrnoException(Errno.EFBIG, $"Snapshot table is too big\nYou can force-remove all {count} overhanging snapshots with qemu-img check -r all");
        }

        Dropping($"Discarding {count} overhanging snapshots (snapshot table is too big)");
    }

    // An entry, and the bytes that it takes once too much extra data is dropped.
    private async IoTask<(Snapshot Snapshot, int Length)> ReadEntryAsync(int index)
    {
        _offset = (_offset + 7) & ~7L;
        byte[] head = await TakeAsync(FixedLength);
        int idLength = BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(12));
        int nameLength = BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(14));
        uint extraLength = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(36));
        int keptExtra = (int)Math.Min(extraLength, MaxExtra);
        if (extraLength > MaxExtra)
        {
            DropExtra(index, extraLength);
        }

        byte[] extra = await TakeAsync(keptExtra);
        _offset += extraLength - keptExtra;
        byte[] names = await TakeAsync(idLength + nameLength);
        return (Parse(head, extra, names, idLength), FixedLength + keptExtra + names.Length);
    }

    private void DropExtra(int index, uint length)
    {
        if (Dropping is null)
        {
            throw new ErrnoException(Errno.EFBIG, $"Too much extra metadata in snapshot table entry {index}\nYou can force-remove this extra metadata with qemu-img check -r all");
        }

        Dropping($"Discarding too much extra metadata in snapshot table entry {index} ({length} > {MaxExtra})");
        Shortened++;
    }

    // The next bytes. There may be tens of thousands of small entries, so that they are read many at a time.
    private async IoTask<byte[]> TakeAsync(int length)
    {
        long inWindow = _offset - _windowOffset;
        if (inWindow < 0 || inWindow + length > _window.Length)
        {
            _window = await file.ReadBytesAsync(_offset, Math.Max(length, WindowLength));
            _windowOffset = _offset;
            inWindow = 0;
        }

        _offset += length;
        return _window.AsSpan((int)inWindow, length).ToArray();
    }

    // Up to the first zero byte, as everybody reads it who is written in C.
    private static string Text(ReadOnlySpan<byte> bytes) => NativeText.Decode(bytes.IndexOf((byte)0) is >= 0 and int end ? bytes[..end] : bytes);

    private Snapshot Parse(byte[] head, byte[] extra, byte[] names, int idLength)
    {
        ulong l1Offset = BinaryPrimitives.ReadUInt64BigEndian(head);
        uint l1Entries = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(8));
        long vmState = extra.Length >= 8 ? (long)BinaryPrimitives.ReadUInt64BigEndian(extra) : BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(32));
        long diskSize = extra.Length >= 16 ? (long)BinaryPrimitives.ReadUInt64BigEndian(extra.AsSpan(8)) : header.Size;
        ulong instructions = extra.Length >= 24 ? BinaryPrimitives.ReadUInt64BigEndian(extra.AsSpan(16)) : ulong.MaxValue;
        var info = new SnapshotInfo(
            Text(names.AsSpan(0, idLength)),
            Text(names.AsSpan(idLength)),
            vmState,
            BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(16)),
            BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(20)),
            (long)BinaryPrimitives.ReadUInt64BigEndian(head.AsSpan(24)),
            instructions == ulong.MaxValue ? null : (long)instructions,
            diskSize);
        byte[] unknown = extra.Length > KnownExtra ? extra[KnownExtra..] : [];
        return new Snapshot(info, (long)l1Offset, l1Entries, unknown) { IsComplete = extra.Length >= 16 };
    }
}
