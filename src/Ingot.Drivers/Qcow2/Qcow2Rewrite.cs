using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Changes of an image as a whole that are no changes of its content to a guest: another backing file, giving up all that is stored.</summary>
internal static class Qcow2Rewrite
{
    /// <summary>Names another backing file, or none.</summary>
    internal static async IoTask ChangeBackingAsync(Qcow2Image image, string? name, string? format)
    {
        await image.BeginChangeAsync();
        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
        Qcow2Header header = image.Header.Current;
        List<HeaderExtension> extensions = [.. header.Extensions.Where(e => e.Type != ExtensionBackingFormat)];
        if (name is not null && format is not null)
        {
            extensions.Insert(0, new HeaderExtension(ExtensionBackingFormat, NativeText.Encode(format)));
        }

        try
        {
            await image.Header.ReplaceAsync(header with { BackingFile = name, BackingFormat = name is null ? null : format, Extensions = extensions });
        }
        catch (OptionException e)
        {
            throw new ErrnoException(Errno.ENOSPC, e.Message, e);
        }
    }

    /// <summary>Gives up every cluster of the guest and the tables that map them, and the end of the file that is not used any more.</summary>
    internal static async IoTask EmptyAsync(Qcow2Image image)
    {
        await image.BeginChangeAsync();
        if (FreshLayout.Fits(image))
        {
            await FreshLayout.ApplyAsync(image);
            return;
        }

        image.Bitmaps.Mark(0, image.Length);
        await image.Tables.WriteAllAsync();
        for (int index = 0; index < image.Map.L1.Count; index++)
        {
            long table = (long)(image.Map.L1[index] & OffsetMask);
            if (table != 0)
            {
                await image.BeginChangeAsync();
                DropTable(image, index, await image.File.ReadBytesAsync(table, image.Geometry.ClusterLength));
            }
        }

        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
        await image.TrimFileAsync();
    }

    // In one step, so that no round of writing drops references of clusters that a table still names.
    private static void DropTable(Qcow2Image image, int index, byte[] table)
    {
        for (int at = 0; at < table.Length; at += 1 << image.Geometry.L2EntryBits)
        {
            ulong entry = BinaryPrimitives.ReadUInt64BigEndian(table.AsSpan(at));
            if (entry != 0)
            {
                image.FreeEntry(entry, discard: true);
            }
        }

        image.L2Tables.Drop(index);
    }
}
