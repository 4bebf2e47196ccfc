using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Linux;

namespace Ingot.Drivers.Qcow2;

/// <summary>One header extension as it lies in the file.</summary>
internal sealed record HeaderExtension(uint Type, byte[] Data);

/// <summary>The header of an image with all fields checked, and its extensions.</summary>
internal sealed record Qcow2Header
{
    internal int Version { get; init; } = 3;

    internal string? BackingFile { get; init; }

    internal string? BackingFormat { get; init; }

    internal int ClusterBits { get; init; } = 16;

    internal long Size { get; init; }

    internal int L1Entries { get; init; }

    internal long L1Offset { get; init; }

    internal long RefcountTableOffset { get; init; }

    internal int RefcountTableClusters { get; init; }

    internal long SnapshotCount { get; init; }

    internal long SnapshotsOffset { get; init; }

    internal IncompatibleFeatures Incompatible { get; init; }

    internal ulong Compatible { get; init; }

    internal ulong Autoclear { get; init; }

    internal int RefcountOrder { get; init; } = 4;

    internal int HeaderLength { get; init; } = Qcow2Constants.CurrentHeaderLength;

    internal Qcow2Compression Compression { get; init; }

    /// <summary>Extensions in file order, without the end mark; the backing format and the feature names are among them.</summary>
    internal IReadOnlyList<HeaderExtension> Extensions { get; init; } = [];

    internal Qcow2EncryptionMethod Encryption { get; init; }

    /// <summary>Where header and key slots of a LUKS image lie; null without one.</summary>
    internal (long Offset, long Length)? LuksArea => Extensions.FirstOrDefault(e => e.Type == Qcow2Constants.ExtensionEncryption) is { } extension
        ? ((long)BinaryPrimitives.ReadUInt64BigEndian(extension.Data), (long)BinaryPrimitives.ReadUInt64BigEndian(extension.Data.AsSpan(8)))
        : null;

    internal bool LazyRefcounts => (Compatible & Qcow2Constants.CompatibleLazyRefcounts) != 0;

    internal bool IsDirty => (Incompatible & IncompatibleFeatures.Dirty) != 0;

    internal bool IsCorrupt => (Incompatible & IncompatibleFeatures.Corrupt) != 0;

    internal bool HasBitmaps => Extensions.Any(e => e.Type == Qcow2Constants.ExtensionBitmaps);

    internal bool IsExtended => (Incompatible & IncompatibleFeatures.ExtendedL2) != 0;

    internal bool HasDataFile => (Incompatible & IncompatibleFeatures.ExternalDataFile) != 0;

    /// <summary>True when the data file alone is the disk, for who reads it as raw.</summary>
    internal bool IsDataFileRaw => HasDataFile && (Autoclear & Qcow2Constants.AutoclearRawDataFile) != 0;

    /// <summary>The name of the data file that the image has, if it has one.</summary>
    internal string? DataFile => Extensions.FirstOrDefault(e => e.Type == Qcow2Constants.ExtensionDataFile) is { Data.Length: > 0 } name
        ? NameOf(name.Data)
        : null;

    /// <summary>A name that stands in a header. It ends at a NUL, as it does for QEMU, and as no path can have one.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <returns>The name.</returns>
    internal static string NameOf(ReadOnlySpan<byte> bytes)
        => NativeText.Decode(bytes.IndexOf((byte)0) is >= 0 and var end ? bytes[..end] : bytes);

    internal Qcow2Geometry Geometry => new(Version, ClusterBits, RefcountOrder, IsExtended, HasDataFile);

    /// <summary>The same header with a LUKS area.</summary>
    /// <param name="offset">Where it lies.</param>
    /// <param name="length">Its bytes.</param>
    /// <returns>The header.</returns>
    internal Qcow2Header WithLuks(long offset, long length)
    {
        var data = new byte[16];
        BinaryPrimitives.WriteUInt64BigEndian(data, (ulong)offset);
        BinaryPrimitives.WriteUInt64BigEndian(data.AsSpan(8), (ulong)length);
        return this with
        {
            Encryption = Qcow2EncryptionMethod.Luks,
            Extensions = [new HeaderExtension(Qcow2Constants.ExtensionEncryption, data), .. Extensions],
        };
    }

    /// <summary>Refuses what is well formed but can't be served by this driver.</summary>
    internal void RefuseUnsupported(string fileName)
    {
        IncompatibleFeatures unknown = Incompatible & ~IncompatibleFeatures.Known;
        if (unknown != 0)
        {
            throw new ImageFormatException($"Unsupported qcow2 feature(s): {FeatureNames.Describe(this, (ulong)unknown)}");
        }
    }
}
