using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Crypto;

/// <summary>An unlocked volume: its ciphers, rented for the time of one piece of work, since large pieces run beside the loop.</summary>
internal sealed class SectorCipherPool(CipherFormat format, byte[] key)
{
    private readonly Stack<SectorCipher> _free = new();

    /// <summary>Takes a cipher.</summary>
    /// <returns>The cipher; to be returned.</returns>
    internal SectorCipher Rent() => _free.TryPop(out SectorCipher? cipher) ? cipher : new SectorCipher(format, key);

    /// <summary>Gives a cipher back.</summary>
    /// <param name="cipher">The cipher.</param>
    internal void Return(SectorCipher cipher) => _free.Push(cipher);

    /// <summary>Forgets the ciphers and their keys.</summary>
    internal void Close()
    {
        while (_free.TryPop(out SectorCipher? cipher))
        {
            cipher.Dispose();
        }

        System.Security.Cryptography.CryptographicOperations.ZeroMemory(key);
    }
}

/// <summary>Opens LUKS1 volumes.</summary>
internal static class LuksVolume
{
    /// <summary>Reads a volume's header.</summary>
    /// <param name="file">The file.</param>
    /// <returns>The header.</returns>
    internal static async IoTask<LuksHeader> ReadHeaderAsync(BlockNode file)
    {
        using IoBuffer bytes = IoBuffer.Zeroed(LuksSector);
        if (file.Length < LuksHeader.Length)
        {
            throw new ImageFormatException("Volume is not in LUKS format");
        }

        await file.ReadAsync(0, bytes.Slice(0, (int)Math.Min(file.Length, LuksSector)));
        return LuksHeader.Read(bytes.Span);
    }

    /// <summary>Finds the master key.</summary>
    /// <param name="file">The file.</param>
    /// <param name="header">Its header.</param>
    /// <param name="password">The password.</param>
    /// <returns>The key.</returns>
    /// <exception cref="ErrnoException">EPERM: no slot has this password.</exception>
    internal static async IoTask<byte[]> UnlockAsync(BlockNode file, LuksHeader header, byte[] password)
    {
        for (int i = 0; i < LuksHeader.SlotCount; i++)
        {
            LuksSlot slot = header.Slots[i];
            if (!slot.IsActive)
            {
                continue;
            }

            if (slot.KeyOffset + header.MaterialLength > file.Length)
            {
                throw new ImageFormatException($"The key material of keyslot {i} ends behind the end of the file");
            }

            byte[] material = await ReadBytesAsync(file, slot.KeyOffset, header.MaterialLength);
            if (await Offload.Run(() => LuksKeys.TryUnlock(header, slot, material, password)) is { } key)
            {
                return key;
            }
        }

        throw new ErrnoException(Errno.EPERM, "Invalid password, cannot unlock any keyslot");
    }

    private const int LuksSector = 4096;

    private static async IoTask<byte[]> ReadBytesAsync(BlockNode file, long offset, int length)
    {
        using var buffer = new IoBuffer(length);
        await file.ReadAsync(offset, buffer.Slice(0, length));
        return buffer.Span[..length].ToArray();
    }
}
