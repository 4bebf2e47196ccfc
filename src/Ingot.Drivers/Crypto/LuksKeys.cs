using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Ingot.Drivers.Crypto;

/// <summary>From a password to the master key: PBKDF2 and the anti-forensic split of LUKS1. All of it is slow on purpose; run it off the loop.</summary>
internal static class LuksKeys
{
    /// <summary>Tries a password on one slot.</summary>
    /// <param name="header">The header.</param>
    /// <param name="slot">An active slot.</param>
    /// <param name="material">The slot's split master key as it is in the file; changed.</param>
    /// <param name="password">The password.</param>
    /// <returns>The master key, or null when the password is not this slot's.</returns>
    internal static byte[]? TryUnlock(LuksHeader header, LuksSlot slot, byte[] material, byte[] password)
    {
        byte[] slotKey = Rfc2898DeriveBytes.Pbkdf2(password, slot.Salt, slot.Iterations, header.Hash, header.KeyLength);
        using (var cipher = new SectorCipher(header.Format, slotKey))
        {
            cipher.Decrypt(0, material);
        }

        byte[] key = Merge(material.AsSpan(0, header.KeyLength * LuksHeader.Stripes), header.KeyLength, header.Hash);
        byte[] digest = Rfc2898DeriveBytes.Pbkdf2(key, header.DigestSalt, header.DigestIterations, header.Hash, LuksHeader.DigestLength);
        CryptographicOperations.ZeroMemory(slotKey);
        CryptographicOperations.ZeroMemory(material);
        return CryptographicOperations.FixedTimeEquals(digest, header.Digest) ? key : null;
    }

    /// <summary>Locks the master key with a password.</summary>
    /// <param name="header">The header.</param>
    /// <param name="place">Where the slot's split master key will lie.</param>
    /// <param name="key">The master key.</param>
    /// <param name="password">The password.</param>
    /// <param name="iterTime">How long trying a password shall take, in milliseconds.</param>
    /// <returns>The slot, and its split master key as it is in the file.</returns>
    internal static (LuksSlot Slot, byte[] Material) Lock(LuksHeader header, long place, byte[] key, byte[] password, long iterTime)
    {
        byte[] salt = RandomNumberGenerator.GetBytes(LuksHeader.SaltLength);
        int iterations = KeyRounds.For(header.Hash, header.KeyLength, iterTime);
        byte[] slotKey = Rfc2898DeriveBytes.Pbkdf2(password, salt, iterations, header.Hash, header.KeyLength);
        byte[] material = new byte[header.MaterialLength];
        byte[] stripes = Split(key, LuksHeader.Stripes, header.Hash);
        stripes.CopyTo(material, 0);
        using (var cipher = new SectorCipher(header.Format, slotKey))
        {
            cipher.Encrypt(0, material);
        }

        CryptographicOperations.ZeroMemory(slotKey);
        CryptographicOperations.ZeroMemory(stripes);
        return (new LuksSlot(true, iterations, salt, place, LuksHeader.Stripes), material);
    }

    /// <summary>The header of a new volume; all slots are empty.</summary>
    /// <param name="options">What it is like.</param>
    /// <param name="key">The master key.</param>
    /// <param name="isDetached">Whether the payload lies elsewhere.</param>
    /// <returns>The header.</returns>
    internal static LuksHeader NewHeader(LuksCreateOptions options, byte[] key, bool isDetached)
    {
        // A password is guessed where it is short; the master key can't be, so that its digest need not be as slow.
        const int DigestShare = 8;
        byte[] salt = RandomNumberGenerator.GetBytes(LuksHeader.SaltLength);
        HashAlgorithmName hash = CipherFormat.HashFrom(options.HashName)!.Value;
        int iterations = KeyRounds.For(hash, LuksHeader.DigestLength, options.IterTime / DigestShare);
        return new LuksHeader
        {
            Format = options.Format,
            HashName = options.HashName,
            KeyLength = key.Length,
            PayloadOffset = isDetached ? 0 : LuksHeader.LengthFor(key.Length),
            Digest = Rfc2898DeriveBytes.Pbkdf2(key, salt, iterations, hash, LuksHeader.DigestLength),
            DigestSalt = salt,
            DigestIterations = iterations,
            Uuid = Guid.NewGuid().ToString(),
            Slots = [.. Enumerable.Range(0, LuksHeader.SlotCount)
                .Select(i => new LuksSlot(false, 0, new byte[LuksHeader.SaltLength], LuksHeader.SlotOffset(key.Length, i), LuksHeader.Stripes))],
        };
    }

    /// <summary>Splits a key into stripes, all of which are needed to get it back.</summary>
    /// <param name="key">The key.</param>
    /// <param name="stripes">How many.</param>
    /// <param name="hash">What diffuses one stripe into the next.</param>
    /// <returns>The stripes, one after the other.</returns>
    internal static byte[] Split(ReadOnlySpan<byte> key, int stripes, HashAlgorithmName hash)
    {
        byte[] result = new byte[key.Length * stripes];
        RandomNumberGenerator.Fill(result.AsSpan(0, key.Length * (stripes - 1)));
        byte[] mask = Combine(result, key.Length, stripes - 1, hash);
        Span<byte> last = result.AsSpan(key.Length * (stripes - 1));
        key.CopyTo(last);
        Xor(last, mask);
        return result;
    }

    /// <summary>Gets a key back from its stripes.</summary>
    /// <param name="stripes">The stripes, one after the other.</param>
    /// <param name="keyLength">The key's length.</param>
    /// <param name="hash">What diffused one stripe into the next.</param>
    /// <returns>The key.</returns>
    internal static byte[] Merge(ReadOnlySpan<byte> stripes, int keyLength, HashAlgorithmName hash)
    {
        int last = (stripes.Length / keyLength) - 1;
        byte[] key = Combine(stripes, keyLength, last, hash);
        Xor(key, stripes[(last * keyLength)..]);
        return key;
    }

    /// <summary>Bytes of a digest.</summary>
    /// <param name="hash">The hash.</param>
    /// <returns>The bytes.</returns>
    internal static int LengthOf(HashAlgorithmName hash)
        => hash == HashAlgorithmName.SHA512 ? 64 : hash == HashAlgorithmName.SHA384 ? 48 : hash == HashAlgorithmName.SHA256 ? 32 : 20;

    private static byte[] Combine(ReadOnlySpan<byte> stripes, int keyLength, int count, HashAlgorithmName hash)
    {
        byte[] state = new byte[keyLength];
        for (int i = 0; i < count; i++)
        {
            Xor(state, stripes.Slice(i * keyLength, keyLength));
            Diffuse(state, hash);
        }

        return state;
    }

    // Each piece as long as a digest becomes the digest of its number and itself.
    private static void Diffuse(Span<byte> state, HashAlgorithmName hash)
    {
        Span<byte> input = stackalloc byte[4 + 64];
        Span<byte> digest = stackalloc byte[64];
        int number = 0;
        int step = LengthOf(hash);
        for (int start = 0; start < state.Length; start += step)
        {
            Span<byte> piece = state.Slice(start, Math.Min(step, state.Length - start));
            BinaryPrimitives.WriteInt32BigEndian(input, number++);
            piece.CopyTo(input[4..]);
            CryptographicOperations.HashData(hash, input[..(4 + piece.Length)], digest);
            digest[..piece.Length].CopyTo(piece);
        }
    }

    private static void Xor(Span<byte> target, ReadOnlySpan<byte> mask)
    {
        for (int i = 0; i < target.Length; i++)
        {
            target[i] ^= mask[i];
        }
    }
}
