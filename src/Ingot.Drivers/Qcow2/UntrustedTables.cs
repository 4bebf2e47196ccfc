using Ingot.Block;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Bounds the time that the tables of an untrusted image can take: tables that are named again and again make small files look endless.</summary>
internal static class UntrustedTables
{
    /// <summary>Entries that a check looks at: enough for a full disk of 32 TiB with the usual clusters, or for a smaller one with many snapshots.</summary>
    internal const long MaxEntries = 1L << 29;

    /// <summary>Refuses an L1 table that names one L2 table twice, which none does that was not made to.</summary>
    /// <param name="flags">How the image is opened.</param>
    /// <param name="fileName">The image.</param>
    /// <param name="l1">Its L1 table.</param>
    /// <exception cref="ImageFormatException">The image is untrusted, and its L1 table does.</exception>
    internal static void RefuseSharedL2(OpenFlags flags, string fileName, PagedTable l1)
    {
        if ((flags & OpenFlags.Untrusted) == 0)
        {
            return;
        }

        var offsets = new ulong[l1.Count];
        for (int i = 0; i < l1.Count; i++)
        {
            offsets[i] = l1[i] & OffsetMask;
        }

        Array.Sort(offsets);
        for (int i = 1; i < offsets.Length; i++)
        {
            if (offsets[i] != 0 && offsets[i] == offsets[i - 1])
            {
                throw new ImageFormatException($"Untrusted image '{fileName}': its L1 table names the L2 table at 0x{offsets[i]:x} more than once");
            }
        }
    }

    /// <summary>Refuses to look at yet more entries of tables.</summary>
    /// <param name="flags">How the image is opened.</param>
    /// <param name="fileName">The image.</param>
    /// <param name="entries">Entries so far.</param>
    /// <exception cref="ImageFormatException">The image is untrusted, and these are too many.</exception>
    internal static void LimitEntries(OpenFlags flags, string fileName, long entries)
    {
        if ((flags & OpenFlags.Untrusted) != 0 && entries > MaxEntries)
        {
            throw new ImageFormatException($"Untrusted image '{fileName}': its tables, those that are named several times counted as often, have more than {MaxEntries} entries");
        }
    }
}
