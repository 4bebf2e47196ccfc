using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// The part of a check that looks at the snapshot table itself. It is read first, because what snapshots name must be counted, and where entries must change
/// it is written anew last, when counts can be trusted.
/// </summary>
internal sealed class SnapshotTableCheck(Qcow2Image image, Action<string> report)
{
    /// <summary>Entries that must be written anew.</summary>
    internal long Found { get; private set; }

    /// <summary>Reads the table, cut down to what the format allows when everything is to be repaired.</summary>
    /// <exception cref="ErrnoException">It can't be read; the inner exception says why.</exception>
    internal async IoTask ReadAsync(Qcow2CheckResult result, Qcow2Repair repair)
    {
        bool repairs = repair == Qcow2Repair.All;
        Qcow2Header header = image.Header.Current;
        long count = header.SnapshotCount;
        if (count > MaxSnapshots)
        {
            long excess = count - MaxSnapshots;
            if (!repairs)
            {
                throw Failure(new ErrnoException(Errno.EFBIG, $"ERROR snapshot table too large\nYou can force-remove all {excess} overhanging snapshots with qemu-img check -r all"));
            }

            report($"Discarding {excess} overhanging snapshots");
            count = MaxSnapshots;
        }

        var reader = new SnapshotTableReader(image.File, header) { Dropping = repairs ? report : null };
        try
        {
            image.Snapshots = await reader.ReadAsync(count);
        }
        catch (ErrnoException e)
        {
            throw Failure(new ErrnoException(e.Errno, $"ERROR failed to read the snapshot table: {e.Message}", e));
        }

        Found += reader.Shortened;
        FindIncomplete(header, repairs);
        if (image.Snapshots.Snapshots.Count < header.SnapshotCount)
        {
            // Nothing may name what they used before its counts are dropped.
            await image.Header.ChangeSnapshotsAsync(image.Snapshots.Snapshots.Count, header.SnapshotsOffset);
            result.CorruptionsFixed += header.SnapshotCount - image.Snapshots.Snapshots.Count;
        }
    }

    private void FindIncomplete(Qcow2Header header, bool repairs)
    {
        for (int i = 0; header.Version >= 3 && i < image.Snapshots.Snapshots.Count; i++)
        {
            if (!image.Snapshots.Snapshots[i].IsComplete)
            {
                report($"{(repairs ? "Repairing" : "ERROR")} snapshot table entry {i} is incomplete");
                Found++;
            }
        }
    }

    private static ErrnoException Failure(ErrnoException reason) => new(reason.Errno, $"Check failed: {ErrnoException.Text(reason.Errno)}", reason);
}
