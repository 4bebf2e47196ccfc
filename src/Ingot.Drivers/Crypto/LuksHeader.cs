using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Ingot.Block;

namespace Ingot.Drivers.Crypto;

/// <summary>A LUKS1 header: 592 bytes in big endian at the start of the volume. Every field is checked when it is read.</summary>
internal sealed record LuksHeader
{
    internal const int Length = 592;
    internal const int SlotCount = 8;
    internal const int DigestLength = 20;
    internal const int SaltLength = 32;
    internal const int Stripes = 4000;
    internal const int AreaAlignment = 4096;
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
    internal string CipherName => $"aes-{KeyLength * 8 / (Format.Mode == SectorMode.Xts ? 2 : 1)}";

    /// <summary>The bytes of a slot's split master key, in whole sectors.</summary>
    internal int MaterialLength => MaterialLengthOf(KeyLength);

    /// <summary>Rounds of PBKDF2 that it takes to find out that a password is wrong; for more bytes than a digest has, all of them are done again.</summary>
    internal long Rounds
    {
        get
        {
            int digest = LuksKeys.LengthOf(Hash);
            long perSlot = (KeyLength + digest - 1) / digest;
            return Slots.Where(s => s.IsActive).Sum(s => (s.Iterations * perSlot) + DigestIterations);
        }
    }

    /// <summary>Where the last area of header and slots ends.</summary>
    internal long End => Slots.Max(s => s.KeyOffset) + MaterialLength;

    /// <summary>The bytes in front of the payload of a new volume: header and slots, each at the alignment that cryptsetup gives them.</summary>
    /// <param name="keyLength">Bytes of the master key.</param>
    /// <returns>The bytes.</returns>
    internal static long LengthFor(int keyLength) => SlotOffset(keyLength, SlotCount);

    /// <summary>Where a slot of a new volume lies.</summary>
    /// <param name="keyLength">Bytes of the master key.</param>
    /// <param name="slot">Its number.</param>
    /// <returns>Bytes from the start of the header.</returns>
    internal static long SlotOffset(int keyLength, int slot)
        => AreaAlignment + (slot * (long)((MaterialLengthOf(keyLength) + AreaAlignment - 1) / AreaAlignment * AreaAlignment));

    private static int MaterialLengthOf(int keyLength) => ((keyLength * Stripes) + SectorSize - 1) / SectorSize * SectorSize;

    /// <summary>The same header with another slot in place of one.</summary>
    /// <param name="index">Which one.</param>
    /// <param name="slot">The new slot.</param>
    /// <returns>The header.</returns>
    internal LuksHeader WithSlot(int index, LuksSlot slot)
    {
        LuksSlot[] slots = [.. Slots];
        slots[index] = slot;
        return this with { Slots = slots };
    }

    /// <summary>Reads and checks a header.</summary>
    /// <param name="bytes">At least <see cref="Length"/> bytes.</param>
    /// <param name="isDetached">Whether the payload lies elsewhere.</param>
    /// <returns>The header.</returns>
    /// <exception cref="ImageFormatException">A field is wrong.</exception>
    internal static LuksHeader Read(ReadOnlySpan<byte> bytes, bool isDetached = false)
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
        if (!IsKeyLength(format, keyLength))
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
        header.CheckLayout(isDetached);
        return header;
    }

    /// <summary>The header as it lies in a file.</summary>
    /// <returns><see cref="Length"/> bytes.</returns>
    internal byte[] ToBytes()
    {
        byte[] bytes = new byte[Length];
        Magic.CopyTo(bytes);
        bytes[7] = 1;
        Encoding.Latin1.GetBytes("aes", bytes.AsSpan(8));
        Encoding.Latin1.GetBytes(Format.ToString(), bytes.AsSpan(40));
        Encoding.Latin1.GetBytes(HashName, bytes.AsSpan(72));
        Put(bytes, 104, PayloadOffset / SectorSize);
        Put(bytes, 108, KeyLength);
        Digest.CopyTo(bytes, 112);
        DigestSalt.CopyTo(bytes, 132);
        Put(bytes, 164, DigestIterations);
        Encoding.Latin1.GetBytes(Uuid, bytes.AsSpan(168));
        for (int i = 0; i < SlotCount; i++)
        {
            LuksSlot slot = Slots[i];
            Span<byte> place = bytes.AsSpan(FirstSlot + (i * SlotLength), SlotLength);
            Put(place, 0, slot.IsActive ? Enabled : Disabled);
            Put(place, 4, slot.Iterations);
            slot.Salt.CopyTo(place[8..]);
            Put(place, 40, slot.KeyOffset / SectorSize);
            Put(place, 44, slot.Stripes);
        }

        return bytes;
    }

    private static void Put(Span<byte> bytes, int offset, long value) => BinaryPrimitives.WriteUInt32BigEndian(bytes[offset..], (uint)value);

    private static List<LuksSlot> ReadSlots(ReadOnlySpan<byte> bytes)
    {
        var slots = new List<LuksSlot>();
        for (int i = 0; i < SlotCount; i++)
        {
            ReadOnlySpan<byte> slot = bytes.Slice(i * SlotLength, SlotLength);
            uint active = Number(slot, 0);
            if (active is not (Enabled or Disabled))
            {
                throw new ImageFormatException($"Keyslot {i} state (active/disable) is corrupted: 0x{active:x8}");
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

    private void CheckLayout(bool isDetached)
    {
        if (!isDetached && PayloadOffset < Length)
        {
            throw new ImageFormatException($"LUKS payload is overlapping with the header: it begins at {PayloadOffset}");
        }

        for (int i = 0; i < SlotCount; i++)
        {
            long start = Slots[i].KeyOffset;
            if (start < Length)
            {
                throw new ImageFormatException($"Keyslot {i} is overlapping with the LUKS header: its key material begins at {start}");
            }

            if (!isDetached && start + MaterialLength > PayloadOffset)
            {
                throw new ImageFormatException($"Keyslot {i} is overlapping with the encrypted payload: its key material ends at {start + MaterialLength}, the payload begins at {PayloadOffset}");
            }

            for (int other = i + 1; other < SlotCount; other++)
            {
                if (Math.Abs(start - Slots[other].KeyOffset) < MaterialLength)
                {
                    throw new ImageFormatException($"Keyslots {i} and {other} are overlapping in the header: their key material begins at {start} and {Slots[other].KeyOffset}");
                }
            }
        }
    }

    private static bool IsKeyLength(CipherFormat format, uint length)
        => (format.Mode, length) is (SectorMode.Xts, 32 or 48 or 64) or (not SectorMode.Xts, 16 or 24 or 32);

    private static int Iterations(uint count, string what)
        => count is > 0 and <= int.MaxValue ? (int)count : throw new ImageFormatException($"{what} is {count}; it must be between 1 and {int.MaxValue}");

    private static uint Number(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32BigEndian(bytes[offset..]);

    private static string Text(ReadOnlySpan<byte> bytes, string what)
    {
        int end = bytes.IndexOf((byte)0);
        return end >= 0 ? Encoding.Latin1.GetString(bytes[..end]) : throw new ImageFormatException($"LUKS header {what} is not NUL terminated");
    }
}
