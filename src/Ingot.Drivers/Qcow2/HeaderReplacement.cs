using System.Buffers.Binary;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Replaces a header so that a crash leaves the old one or the new one, though writes may be torn at sectors. The first sector decides: it has all
/// fields, and says where the rest lies. So the rest goes where the old header has nothing, which for extensions needs a step between: a header
/// whose extensions lie in the first sector, without the feature names, and whose backing file name lies where both others have nothing. Extensions that
/// do not fit there (long names of data files) are written behind the first sector first, and may be torn.
/// </summary>
internal sealed class HeaderReplacement(HostFile file, Qcow2Header current, Qcow2Header changed)
{
    private const int Sector = 512;

    private byte[] _now = [];

    internal async IoTask RunAsync()
    {
        byte[] wanted = Qcow2HeaderWriter.Build(changed);
        _now = await file.ReadBytesAsync(0, wanted.Length);
        KeepUnknownFields(wanted);
        bool isOneSector = Enumerable.Range(0, wanted.Length / Sector).Count(i => !SectorOf(wanted, i).SequenceEqual(SectorOf(_now, i))) <= 1;
        if (!isOneSector)
        {
            await PrepareAsync(wanted);
        }

        await WriteAsync(wanted, 0, Sector);
        await WriteAsync(wanted, Sector, wanted.Length);
    }

    // Brings in what lies behind the first sector, so that the old header stays true, and then one between.
    private async IoTask PrepareAsync(byte[] wanted)
    {
        byte[] behind = [.. wanted];
        (int start, int length) = PlaceName(wanted);
        if (BuildBetween(start) is { } between)
        {
            byte[] withName = [.. _now];
            between.AsSpan(start, length).CopyTo(withName.AsSpan(start));
            await WriteAsync(withName, Sector, wanted.Length);
            await WriteAsync(between, 0, Sector);
            between.AsSpan(start, length).CopyTo(behind.AsSpan(start));
        }

        await WriteAsync(behind, Sector, wanted.Length);
    }

    // Behind all that the old header and the wanted one use, if there is room.
    private (int Offset, int Length) PlaceName(byte[] wanted)
    {
        int length = changed.BackingFile is { } name ? NativeText.Encode(name).Length : 0;
        int offset = (wanted.Length - length) & ~7;
        return offset < Math.Max(End(_now, current), End(wanted, changed)) ? (-1, 0) : (offset, length);
    }

    private static Span<byte> SectorOf(byte[] cluster, int index) => cluster.AsSpan(index * Sector, Sector);

    // Fields of later versions of the format stay as they are.
    private void KeepUnknownFields(byte[] cluster)
    {
        if (changed.HeaderLength > CurrentHeaderLength)
        {
            _now.AsSpan(CurrentHeaderLength, changed.HeaderLength - CurrentHeaderLength).CopyTo(cluster.AsSpan(CurrentHeaderLength));
        }
    }

    // Null when there is no room for one.
    private byte[]? BuildBetween(int nameOffset)
    {
        Qcow2Header header = changed with { Extensions = [.. changed.Extensions.Where(e => e.Type != ExtensionFeatureNames)] };
        if (nameOffset < 0 || ExtensionsEnd(_now.Length, header) > Sector)
        {
            return null;
        }

        byte[] between = Qcow2HeaderWriter.Build(header, nameOffset);
        KeepUnknownFields(between);
        return between;
    }

    // Where what a header says of the cluster ends.
    private static int End(byte[] cluster, Qcow2Header header)
    {
        long name = header.BackingFile is null ? 0 : (long)BinaryPrimitives.ReadUInt64BigEndian(cluster.AsSpan(8)) + BinaryPrimitives.ReadUInt32BigEndian(cluster.AsSpan(16));
        return (int)Math.Min(cluster.Length, Math.Max(Math.Max(Sector, name), ExtensionsEnd(cluster.Length, header)));
    }

    private static long ExtensionsEnd(int clusterLength, Qcow2Header header)
    {
        long offset = header.Version == 2 ? Version2HeaderLength : header.HeaderLength;
        foreach (HeaderExtension extension in header.Extensions)
        {
            offset += ExtensionHeadLength + ((extension.Data.Length + 7L) & ~7L);
        }

        return Math.Min(clusterLength, offset + ExtensionHeadLength);
    }

    // Makes a part what it should be, durably; only sectors that differ are written.
    private async IoTask WriteAsync(byte[] cluster, int start, int end)
    {
        while (start < end && SectorOf(cluster, start / Sector).SequenceEqual(SectorOf(_now, start / Sector)))
        {
            start += Sector;
        }

        while (start < end && SectorOf(cluster, (end / Sector) - 1).SequenceEqual(SectorOf(_now, (end / Sector) - 1)))
        {
            end -= Sector;
        }

        if (start < end)
        {
            await file.WriteBytesAsync(start, cluster.AsMemory(start, end - start));
            await file.FlushAsync();
            cluster.AsSpan(start, end - start).CopyTo(_now.AsSpan(start));
        }
    }
}
