namespace Ingot.Drivers.Qcow2;

/// <summary>How compressed clusters are stored.</summary>
internal enum Qcow2Compression : byte
{
    Zlib = 0,
    Zstd = 1,
}

/// <summary>How guest data is encrypted.</summary>
internal enum Qcow2EncryptionMethod : uint
{
    None = 0,
    Aes = 1,
    Luks = 2,
}

/// <summary>Features that a program must know to open the image at all.</summary>
[Flags]
internal enum IncompatibleFeatures : ulong
{
    None = 0,
    Dirty = 1,
    Corrupt = 2,
    ExternalDataFile = 4,
    CompressionType = 8,
    ExtendedL2 = 16,
    Known = Dirty | Corrupt | ExternalDataFile | CompressionType | ExtendedL2,
}

/// <summary>Numbers of the format that several files need. Offsets are bytes in the image file.</summary>
internal static class Qcow2Constants
{
    internal const uint Magic = 0x514649fb;
    internal const int Version2HeaderLength = 72;
    internal const int Version3HeaderLength = 104;
    internal const int CurrentHeaderLength = 112;
    internal const int MinClusterBits = 9;
    internal const int MaxClusterBits = 21;
    internal const int MinExtendedClusterBits = 14;
    internal const int MaxRefcountOrder = 6;
    internal const int MaxL1Bytes = 32 << 20;
    internal const int MaxRefcountTableBytes = 8 << 20;
    internal const int MaxBackingNameLength = 1023;
    internal const int MaxSnapshots = 65536;
    internal const long MaxHostOffset = (1L << 56) - 1;

    internal const ulong CompatibleLazyRefcounts = 1;
    internal const ulong AutoclearBitmaps = 1;
    internal const ulong AutoclearRawDataFile = 2;

    // Bits of L1 and L2 entries. The same mask gives the host offset in both, in refcount table entries the lower bits are reserved.
    internal const ulong OffsetMask = 0x00fffffffffffe00;
    internal const ulong CopiedFlag = 1UL << 63;
    internal const ulong CompressedFlag = 1UL << 62;
    internal const ulong ZeroFlag = 1;

    internal const uint ExtensionEnd = 0;
    internal const int ExtensionHeadLength = 8;
    internal const uint ExtensionBackingFormat = 0xe2792aca;
    internal const uint ExtensionFeatureNames = 0x6803f857;
    internal const uint ExtensionBitmaps = 0x23852875;
    internal const uint ExtensionEncryption = 0x0537be77;
    internal const uint ExtensionDataFile = 0x44415441;

    // Offsets of header fields that are rewritten in place.
    internal const int SizeField = 24;
    internal const int L1OffsetField = 40;
    internal const int EncryptionField = 32;
    internal const int RefcountTableField = 48;
    internal const int SnapshotsField = 60;
    internal const int FeaturesField = 72;
    internal const int CompressedSectorLength = 512;
}
