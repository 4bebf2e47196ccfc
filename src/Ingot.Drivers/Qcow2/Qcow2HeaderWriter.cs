using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Lays a header out in its cluster: fields, extensions, backing file name.</summary>
internal static class Qcow2HeaderWriter
{
    /// <summary>The whole first cluster.</summary>
    /// <param name="header">What it says.</param>
    /// <param name="nameOffset">Where the backing file name goes; null for behind the extensions.</param>
    /// <exception cref="OptionException">Names and extensions do not fit.</exception>
    internal static byte[] Build(Qcow2Header header, int? nameOffset = null)
    {
        var cluster = new byte[1 << header.ClusterBits];
        WriteFixed(header, cluster);
        int offset = header.Version == 2 ? Version2HeaderLength : header.HeaderLength;
        foreach (HeaderExtension extension in header.Extensions)
        {
            offset = WriteExtension(cluster, offset, extension);
        }

        offset = WriteExtension(cluster, offset, new HeaderExtension(ExtensionEnd, []));
        if (header.BackingFile is { } name)
        {
            byte[] bytes = NativeText.Encode(name);
            offset = nameOffset ?? offset;
            if (bytes.Length > Math.Min(MaxBackingNameLength, cluster.Length - offset))
            {
                throw new OptionException($"Backing file name '{name}' is too long for a qcow2 image with clusters of {cluster.Length} bytes");
            }

            BinaryPrimitives.WriteUInt64BigEndian(cluster.AsSpan(8), (ulong)offset);
            BinaryPrimitives.WriteUInt32BigEndian(cluster.AsSpan(16), (uint)bytes.Length);
            bytes.CopyTo(cluster, offset);
        }

        return cluster;
    }

    /// <summary>The three feature words, which lie together so that one small write changes them.</summary>
    internal static byte[] BuildFeatures(Qcow2Header header)
    {
        var words = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(words, (ulong)header.Incompatible);
        BinaryPrimitives.WriteUInt64BigEndian(words.AsSpan(8), header.Compatible);
        BinaryPrimitives.WriteUInt64BigEndian(words.AsSpan(16), header.Autoclear);
        return words;
    }

    private static void WriteFixed(Qcow2Header header, Span<byte> cluster)
    {
        BinaryPrimitives.WriteUInt32BigEndian(cluster, Magic);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[4..], (uint)header.Version);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[20..], (uint)header.ClusterBits);
        BinaryPrimitives.WriteUInt64BigEndian(cluster[24..], (ulong)header.Size);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[EncryptionField..], (uint)header.Encryption);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[36..], (uint)header.L1Entries);
        BinaryPrimitives.WriteUInt64BigEndian(cluster[40..], (ulong)header.L1Offset);
        BinaryPrimitives.WriteUInt64BigEndian(cluster[48..], (ulong)header.RefcountTableOffset);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[56..], (uint)header.RefcountTableClusters);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[60..], (uint)header.SnapshotCount);
        BinaryPrimitives.WriteUInt64BigEndian(cluster[64..], (ulong)header.SnapshotsOffset);
        if (header.Version >= 3)
        {
            BuildFeatures(header).CopyTo(cluster[FeaturesField..]);
            BinaryPrimitives.WriteUInt32BigEndian(cluster[96..], (uint)header.RefcountOrder);
            BinaryPrimitives.WriteUInt32BigEndian(cluster[100..], (uint)header.HeaderLength);
            if (header.HeaderLength > 104)
            {
                cluster[104] = (byte)header.Compression;
            }
        }
    }

    private static int WriteExtension(byte[] cluster, int offset, HeaderExtension extension)
    {
        int end = offset + 8 + ((extension.Data.Length + 7) & ~7);
        if (end > cluster.Length)
        {
            throw new OptionException($"The qcow2 header does not fit into a cluster of {cluster.Length} bytes");
        }

        BinaryPrimitives.WriteUInt32BigEndian(cluster.AsSpan(offset), extension.Type);
        BinaryPrimitives.WriteUInt32BigEndian(cluster.AsSpan(offset + 4), (uint)extension.Data.Length);
        extension.Data.CopyTo(cluster, offset + 8);
        return end;
    }
}
