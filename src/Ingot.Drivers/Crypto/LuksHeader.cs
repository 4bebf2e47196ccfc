using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Ingot.Block;

namespace Ingot.Drivers.Crypto;

/// <summary>One of the eight places for a password.</summary>
/// <param name="IsActive">Whether a password opens it.</param>
/// <param name="Iterations">PBKDF2's iterations.</param>
/// <param name="Salt">PBKDF2's salt.</param>
/// <param name="KeyOffset">Where the split master key lies, in bytes.</param>
/// <param name="Stripes">How many parts the master key is split in.</param>
internal sealed record LuksSlot(bool IsActive, int Iterations, byte[] Salt, long KeyOffset, int Stripes);

/// <summary>A LUKS1 header: 592 bytes in big endian at the start of the volume. Every field is checked when it is read.</summary>
internal sealed class LuksHeader
{
    internal const int Length = 592;
    internal const int SlotCount = 8;
    internal const int DigestLength = 20;
    internal const int Stripes = 4000;
    private const int SectorSize = 512;
    private const int FirstSlot = 208;
    private const int SlotLength = 48;
    private const uint Enabled = 0x00ac71f3;
    private const uint Disabled = 0x0000dead;

    internal static ReadOnlySpan<byte> Magic => [(byte)'L', (byte)'U', (byte)'K', (byte)'S', 0xba, 0xbe];

    internal required CipherFormat Format { get; init; }

    internal required string HashName { get; init; }

    internal required int KeyLength { get; init; }

    internal required long PayloadOffset { get; init; }

    internal required byte[] Digest { get; init; }

    internal required byte[] DigestSalt { get; init; }

    internal required int DigestIterations { get; init; }

    internal required string Uuid { get; init; }

    internal required IReadOnlyList<LuksSlot> Slots { get; init; }

    internal HashAlgorithmName Hash => CipherFormat.HashFrom(HashName)!.Value;

    /// <summary>"aes-256": XTS has two keys.</summary>
    internal string CipherName => $"aes-{KeyLength * 8 / (Format.IsXts ? 2 : 1)}";

    /// <summary>The bytes of a slot's split master key, in whole sectors.</summary>
    internal int MaterialLength => ((KeyLength * Stripes) + SectorSize - 1) / SectorSize * SectorSize;

    /// <summary>Reads and checks a header.</summary>
    /// <param name="bytes">At least <see cref="Length"/> bytes.</param>
    /// <returns>The header.</returns>
    /// <exception cref="ImageFormatException">A field is wrong.</exception>
    internal static LuksHeader Read(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < Length || !bytes.StartsWith(Magic))
        {
            throw new ImageFormatException("Volume is not in LUKS format");
        }

        int version = BinaryPrimitives.ReadUInt16BigEndian(bytes[6..]);
        if (version != 1)
        {
            throw new ImageFormatException($"LUKS version {version} is not supported");
        }

        string cipher = Text(bytes.Slice(8, 32), "cipher name");
        string mode = Text(bytes.Slice(40, 32), "cipher mode");
        string hash = Text(bytes.Slice(72, 32), "hash spec");
        if (cipher != "aes")
        {
            throw new ImageFormatException($"Algorithm '{cipher}' with key size {Number(bytes, 108)} bits is not supported");
        }

        if (CipherFormat.HashFrom(hash) is null)
        {
            throw new ImageFormatException($"Hash algorithm '{hash}' is not supported");
        }

        CipherFormat format = CipherFormat.Parse(mode);
        uint keyLength = Number(bytes, 108);
        if ((format.IsXts ? keyLength / 2 : keyLength) is not (16 or 24 or 32) || (format.IsXts && keyLength is not (32 or 64)))
        {
            throw new ImageFormatException($"Algorithm 'aes' with key size {keyLength} in mode '{format.ModeName}' is not supported");
        }

        var header = new LuksHeader
        {
            Format = format,
            HashName = hash,
            KeyLength = (int)keyLength,
            PayloadOffset = (long)Number(bytes, 104) * SectorSize,
            Digest = bytes.Slice(112, DigestLength).ToArray(),
            DigestSalt = bytes.Slice(132, 32).ToArray(),
            DigestIterations = Iterations(Number(bytes, 164), "LUKS key iteration count"),
            Uuid = Text(bytes.Slice(168, 40), "UUID"),
            Slots = [.. ReadSlots(bytes[FirstSlot..])],
        };
        header.CheckLayout();
        return header;
    }

    private static List<LuksSlot> ReadSlots(ReadOnlySpan<byte> bytes)
    {
        var slots = new List<LuksSlot>();
        for (int i = 0; i < SlotCount; i++)
        {
            ReadOnlySpan<byte> slot = bytes.Slice(i * SlotLength, SlotLength);
            uint active = Number(slot, 0);
            if (active is not (Enabled or Disabled))
            {
                throw new ImageFormatException($"Keyslot {i} state (active/disable) is corrupted");
            }

            uint stripes = Number(slot, 44);
            if (stripes != Stripes)
            {
                throw new ImageFormatException($"Keyslot {i} is corrupted (stripes {stripes} != {Stripes})");
            }

            bool isActive = active == Enabled;
            int iterations = isActive ? Iterations(Number(slot, 4), $"Keyslot {i} iteration count") : 0;
            slots.Add(new LuksSlot(isActive, iterations, slot.Slice(8, 32).ToArray(), (long)Number(slot, 40) * SectorSize, (int)stripes));
        }

        return slots;
    }

    private void CheckLayout()
    {
        for (int i = 0; i < SlotCount; i++)
        {
            long start = Slots[i].KeyOffset;
            if (start < Length)
            {
                throw new ImageFormatException($"Keyslot {i} is overlapping with the LUKS header");
            }

            if (PayloadOffset != 0 && start + MaterialLength > PayloadOffset)
            {
                throw new ImageFormatException($"Keyslot {i} is overlapping with the encrypted payload");
            }

            for (int other = i + 1; other < SlotCount; other++)
            {
                if (Math.Abs(start - Slots[other].KeyOffset) < MaterialLength)
                {
                    throw new ImageFormatException($"Keyslots {i} and {other} are overlapping in the header");
                }
            }
        }
    }

    private static int Iterations(uint count, string what)
        => count is > 0 and <= int.MaxValue ? (int)count : throw new ImageFormatException($"{what} is {count}; it must be between 1 and {int.MaxValue}");

    private static uint Number(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32BigEndian(bytes[offset..]);

    private static string Text(ReadOnlySpan<byte> bytes, string what)
    {
        int end = bytes.IndexOf((byte)0);
        return end >= 0 ? Encoding.Latin1.GetString(bytes[..end]) : throw new ImageFormatException($"LUKS header {what} is not NUL terminated");
    }
}
