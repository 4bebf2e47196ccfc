using System.Buffers.Binary;
using Ingot.Block;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Reads a header out of the first bytes of a file. Every field is checked here and believed afterwards.</summary>
internal static class Qcow2HeaderReader
{
    /// <summary>Bytes that a first read must give to learn the cluster size.</summary>
    internal const int FixedLength = CurrentHeaderLength;

    /// <summary>The cluster size of an image, so that its whole first cluster can be read.</summary>
    internal static int ClusterLength(ReadOnlySpan<byte> head, string fileName)
    {
        if (head.Length < Version2HeaderLength)
        {
            throw new ImageFormatException("Image is not in qcow2 format");
        }

        uint magic = BinaryPrimitives.ReadUInt32BigEndian(head);
        if (magic != Magic)
        {
            throw new ImageFormatException("Image is not in qcow2 format");
        }

        uint version = BinaryPrimitives.ReadUInt32BigEndian(head[4..]);
        if (version is < 2 or > 3)
        {
            throw new ImageFormatException($"Unsupported qcow2 version {version}");
        }

        uint clusterBits = BinaryPrimitives.ReadUInt32BigEndian(head[20..]);
        return clusterBits is >= MinClusterBits and <= MaxClusterBits
            ? 1 << (int)clusterBits
            : throw new ImageFormatException($"Unsupported cluster size: 2^{clusterBits}");
    }

    /// <summary>Reads the header.</summary>
    /// <param name="cluster">The first cluster of the file, or the whole file when it is shorter.</param>
    /// <param name="fileName">For messages.</param>
    internal static Qcow2Header Parse(ReadOnlySpan<byte> cluster, string fileName)
    {
        int clusterLength = ClusterLength(cluster, fileName);
        int version = (int)BinaryPrimitives.ReadUInt32BigEndian(cluster[4..]);
        var fields = new FieldReader(fileName, clusterLength);
        (int headerLength, ulong incompatible, ulong compatible, ulong autoclear, uint refcountOrder) = version == 2
            ? (Version2HeaderLength, 0UL, 0UL, 0UL, 4U)
            : ReadVersion3(cluster, clusterLength, fileName);

        ulong size = BinaryPrimitives.ReadUInt64BigEndian(cluster[24..]);
        if (size > long.MaxValue - (ulong)clusterLength)
        {
            throw fields.Bad("size", size, "it must be below 2^63");
        }

        uint encryption = BinaryPrimitives.ReadUInt32BigEndian(cluster[EncryptionField..]);
        if (encryption > (uint)Qcow2EncryptionMethod.Luks)
        {
            throw new ImageFormatException($"Image '{fileName}': Unsupported encryption method {encryption}");
        }

        var header = new Qcow2Header
        {
            Version = version,
            ClusterBits = (int)BinaryPrimitives.ReadUInt32BigEndian(cluster[20..]),
            Size = (long)size,
            Encryption = (Qcow2EncryptionMethod)encryption,
            L1Entries = (int)fields.Limited("l1_size", BinaryPrimitives.ReadUInt32BigEndian(cluster[36..]), MaxL1Bytes / 8),
            L1Offset = fields.Offset("l1_table_offset", BinaryPrimitives.ReadUInt64BigEndian(cluster[40..])),
            RefcountTableOffset = fields.Offset("refcount_table_offset", BinaryPrimitives.ReadUInt64BigEndian(cluster[48..])),
            RefcountTableClusters = (int)fields.Limited("refcount_table_clusters", BinaryPrimitives.ReadUInt32BigEndian(cluster[56..]), (uint)Math.Max(1, MaxRefcountTableBytes / clusterLength)),
            SnapshotCount = BinaryPrimitives.ReadUInt32BigEndian(cluster[60..]),
            SnapshotsOffset = fields.Offset("snapshots_offset", BinaryPrimitives.ReadUInt64BigEndian(cluster[64..])),
            Incompatible = (IncompatibleFeatures)incompatible,
            Compatible = compatible,
            Autoclear = autoclear,
            RefcountOrder = (int)refcountOrder,
            HeaderLength = headerLength,
            Compression = ReadCompression(cluster, headerLength, incompatible, fileName),
        };
        return CheckTables(ReadNames(header, cluster, clusterLength, fileName), fields);
    }

    private static (int HeaderLength, ulong Incompatible, ulong Compatible, ulong Autoclear, uint RefcountOrder) ReadVersion3(
        ReadOnlySpan<byte> cluster, int clusterLength, string fileName)
    {
        if (cluster.Length < Version3HeaderLength)
        {
            throw new ImageFormatException($"Image '{fileName}': the file ends within the qcow2 header ({cluster.Length} bytes)");
        }

        uint headerLength = BinaryPrimitives.ReadUInt32BigEndian(cluster[100..]);
        if (headerLength < Version3HeaderLength || headerLength > clusterLength || headerLength > cluster.Length)
        {
            throw new ImageFormatException(headerLength < Version3HeaderLength
                ? $"Image '{fileName}': qcow2 header too short: header_length is {headerLength}, at least {Version3HeaderLength} are needed"
                : $"Image '{fileName}': qcow2 header exceeds cluster size: header_length is {headerLength}");
        }

        uint refcountOrder = BinaryPrimitives.ReadUInt32BigEndian(cluster[96..]);
        if (refcountOrder > MaxRefcountOrder)
        {
            throw new ImageFormatException($"Image '{fileName}': Reference count entry width too large; refcount_order is {refcountOrder}, may not exceed {MaxRefcountOrder} (64 bits)");
        }

        return ((int)headerLength, BinaryPrimitives.ReadUInt64BigEndian(cluster[72..]), BinaryPrimitives.ReadUInt64BigEndian(cluster[80..]),
            BinaryPrimitives.ReadUInt64BigEndian(cluster[88..]), refcountOrder);
    }

    private static Qcow2Compression ReadCompression(ReadOnlySpan<byte> cluster, int headerLength, ulong incompatible, string fileName)
    {
        byte type = headerLength > 104 ? cluster[104] : (byte)0;
        bool flagged = (incompatible & (ulong)IncompatibleFeatures.CompressionType) != 0;
        if (type > (byte)Qcow2Compression.Zstd)
        {
            throw new ImageFormatException($"Image '{fileName}': unknown compression type: {type}");
        }

        return flagged == (type != 0)
            ? (Qcow2Compression)type
            : throw new ImageFormatException($"Image '{fileName}': compression_type is {type}, but its incompatible feature bit is {(flagged ? "set" : "not set")}");
    }

    private static Qcow2Header ReadNames(Qcow2Header header, ReadOnlySpan<byte> cluster, int clusterLength, string fileName)
    {
        ulong nameOffset = BinaryPrimitives.ReadUInt64BigEndian(cluster[8..]);
        uint nameLength = BinaryPrimitives.ReadUInt32BigEndian(cluster[16..]);
        string? backing = null;
        int end = Math.Min(clusterLength, cluster.Length);
        if (nameOffset != 0)
        {
            if (nameOffset > (ulong)end || nameOffset < (ulong)header.HeaderLength)
            {
                throw new ImageFormatException($"Image '{fileName}': Invalid backing file offset: backing_file_offset is {nameOffset}");
            }

            if (nameLength > MaxBackingNameLength || nameLength > (uint)(end - (int)nameOffset))
            {
                throw new ImageFormatException($"Image '{fileName}': Backing file name too long: backing_file_size is {nameLength}");
            }

            backing = Qcow2Header.NameOf(cluster.Slice((int)nameOffset, (int)nameLength));
            end = (int)nameOffset;
        }

        List<HeaderExtension> extensions = ReadExtensions(cluster, header.HeaderLength, end, fileName);
        byte[]? format = extensions.LastOrDefault(e => e.Type == ExtensionBackingFormat)?.Data;
        CheckEncryption(header.Encryption, extensions.FirstOrDefault(e => e.Type == ExtensionEncryption)?.Data, clusterLength, fileName);
        return header with
        {
            BackingFile = string.IsNullOrEmpty(backing) ? null : backing,
            BackingFormat = format is null or [] ? null : Qcow2Header.NameOf(format),
            Extensions = extensions,
        };
    }

    private static void CheckEncryption(Qcow2EncryptionMethod method, byte[]? extension, int clusterLength, string fileName)
    {
        if (extension is null)
        {
            if (method == Qcow2EncryptionMethod.Luks)
            {
                throw new ImageFormatException($"Missing CRYPTO header for crypt method {(uint)method}");
            }

            return;
        }

        ulong offset = extension.Length == 16 ? BinaryPrimitives.ReadUInt64BigEndian(extension) : 0;
        ulong length = extension.Length == 16 ? BinaryPrimitives.ReadUInt64BigEndian(extension.AsSpan(8)) : 0;
        string? wrong = method != Qcow2EncryptionMethod.Luks ? "CRYPTO header extension only expected with LUKS encryption method"
            : extension.Length != 16 ? $"CRYPTO header extension size {extension.Length}, but expected size 16"
            : offset % (ulong)clusterLength != 0 || offset > MaxHostOffset ? $"Encryption header offset '{offset}' is not a multiple of cluster size '{clusterLength}' below 2^56"
            : length > MaxHostOffset ? $"Encryption header length '{length}' is too large"
            : null;
        if (wrong is not null)
        {
            throw new ImageFormatException($"Image '{fileName}': {wrong}");
        }
    }

    private static List<HeaderExtension> ReadExtensions(ReadOnlySpan<byte> head, int offset, int end, string fileName)
    {
        var extensions = new List<HeaderExtension>();
        while (offset < end && offset <= head.Length - 8)
        {
            uint type = BinaryPrimitives.ReadUInt32BigEndian(head[offset..]);
            uint length = BinaryPrimitives.ReadUInt32BigEndian(head[(offset + 4)..]);
            if (type == ExtensionEnd)
            {
                break;
            }

            offset += 8;
            if (length > Math.Max(0, end - offset))
            {
                throw new ImageFormatException($"Image '{fileName}': Header extension too large: extension 0x{type:x8} at offset {offset - 8} has {length} bytes");
            }

            extensions.Add(new HeaderExtension(type, head.Slice(offset, (int)length).ToArray()));
            offset += (int)((length + 7) & ~7u);
        }

        return extensions;
    }

    private static Qcow2Header CheckTables(Qcow2Header header, FieldReader fields)
    {
        if (header.RefcountTableClusters == 0 && (header.Incompatible & IncompatibleFeatures.Dirty) == 0)
        {
            throw fields.Bad("refcount_table_clusters", 0, "Image does not contain a reference count table");
        }

        if (header.IsExtended && header.ClusterBits < MinExtendedClusterBits)
        {
            throw fields.Bad("cluster_bits", (ulong)header.ClusterBits, $"extended L2 entries need at least {MinExtendedClusterBits}");
        }

        if (header.Geometry.L1EntriesFor(header.Size) is long needed && needed > header.L1Entries)
        {
            if (needed > int.MaxValue)
            {
                throw new ImageFormatException("Image is too big");
            }

            throw fields.Bad("l1_size", (ulong)header.L1Entries, $"L1 table is too small, a size of {header.Size} bytes needs {needed} entries");
        }

        return header;
    }

    /// <summary>Checks of single fields, with messages that name the file and the field.</summary>
    private readonly struct FieldReader(string fileName, int clusterLength)
    {
        internal ImageFormatException Bad(string field, ulong value, string why) => new($"Image '{fileName}': header field {field} is {value}: {why}");

        internal uint Limited(string field, uint value, uint max) => value <= max ? value : throw Bad(field, value, $"too large, at most {max} are allowed");

        internal long Offset(string field, ulong value)
            => value <= MaxHostOffset && (value & (ulong)(clusterLength - 1)) == 0
                ? (long)value
                : throw Bad(field, value, $"offset invalid, it must be a multiple of the cluster size {clusterLength} and below 2^56");
    }
}
