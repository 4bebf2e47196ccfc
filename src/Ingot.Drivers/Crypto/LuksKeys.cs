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
        int step = hash == HashAlgorithmName.SHA512 ? 64 : hash == HashAlgorithmName.SHA256 ? 32 : 20;
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
