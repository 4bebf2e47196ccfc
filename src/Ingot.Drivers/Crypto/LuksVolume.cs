using System.Security.Cryptography;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Crypto;

/// <summary>The header and the key slots of a LUKS1 volume where they lie in a file.</summary>
/// <param name="file">The file.</param>
/// <param name="start">Where the header begins in it.</param>
/// <param name="isDetached">Whether the payload lies elsewhere.</param>
internal sealed class LuksVolume(HostFile file, long start, bool isDetached)
{
    // What a stranger's volume may cost: some ten seconds of one processor. A volume that a fast machine made with all slots in use needs most of it.
    private const long MaxUntrustedRounds = 50_000_000;

    /// <summary>Reads the header.</summary>
    /// <returns>The header, checked.</returns>
    internal async IoTask<LuksHeader> ReadHeaderAsync()
    {
        if (file.Length - start < LuksHeader.Length)
        {
            throw new ImageFormatException("Volume is not in LUKS format");
        }

        return LuksHeader.Read(await file.ReadBytesAsync(start, LuksHeader.Length), isDetached);
    }

    /// <summary>Writes the header, durably.</summary>
    /// <param name="header">The header.</param>
    internal async IoTask WriteHeaderAsync(LuksHeader header)
    {
        await file.WriteBytesAsync(start, header.ToBytes());
        await file.FlushAsync();
    }

    /// <summary>Finds the master key.</summary>
    /// <param name="header">The header.</param>
    /// <param name="password">The password.</param>
    /// <param name="flags">How the image is opened.</param>
    /// <returns>The key.</returns>
    /// <exception cref="ErrnoException">EPERM: no slot has this password.</exception>
    internal async IoTask<byte[]> UnlockAsync(LuksHeader header, byte[] password, OpenFlags flags)
    {
        if ((flags & OpenFlags.Untrusted) != 0 && header.Rounds > MaxUntrustedRounds)
        {
            throw new ImageFormatException($"Untrusted image '{file.FileName}': its LUKS key slots need {header.Rounds} rounds of PBKDF2, at most {MaxUntrustedRounds} are allowed");
        }

        for (int i = 0; i < LuksHeader.SlotCount; i++)
        {
            if (await TryUnlockAsync(header, i, password) is { } key)
            {
                return key;
            }
        }

        throw new ErrnoException(Errno.EPERM, "Invalid password, cannot unlock any keyslot");
    }

    /// <summary>Tries a password on one slot.</summary>
    /// <param name="header">The header.</param>
    /// <param name="index">The slot.</param>
    /// <param name="password">The password.</param>
    /// <returns>The master key; null when the slot is not active or has another password.</returns>
    internal async IoTask<byte[]?> TryUnlockAsync(LuksHeader header, int index, byte[] password)
    {
        LuksSlot slot = header.Slots[index];
        if (!slot.IsActive)
        {
            return null;
        }

        if (start + slot.KeyOffset + header.MaterialLength > file.Length)
        {
            throw new ImageFormatException($"The key material of keyslot {index} ends behind the end of the file, at {start + slot.KeyOffset + header.MaterialLength}");
        }

        byte[] material = await file.ReadBytesAsync(start + slot.KeyOffset, header.MaterialLength);
        return await Offload.Run(() => LuksKeys.TryUnlock(header, slot, material, password));
    }

    /// <summary>Puts a password into a slot. The key material is there before the header says so.</summary>
    /// <param name="header">The header.</param>
    /// <param name="index">The slot.</param>
    /// <param name="key">The master key.</param>
    /// <param name="password">The password.</param>
    /// <param name="iterTime">How long trying a password shall take, in milliseconds.</param>
    /// <returns>The header as it is now.</returns>
    internal async IoTask<LuksHeader> FillSlotAsync(LuksHeader header, int index, byte[] key, byte[] password, long iterTime)
    {
        long place = header.Slots[index].KeyOffset;
        (LuksSlot slot, byte[] material) = await Offload.Run(() => LuksKeys.Lock(header, place, key, password, iterTime));
        await file.WriteBytesAsync(start + place, material);
        await file.FlushAsync();
        LuksHeader changed = header.WithSlot(index, slot);
        await WriteHeaderAsync(changed);
        return changed;
    }

    /// <summary>Makes a slot useless: the header forgets it, then its key material is overwritten.</summary>
    /// <param name="header">The header.</param>
    /// <param name="index">The slot.</param>
    /// <returns>The header as it is now.</returns>
    internal async IoTask<LuksHeader> EraseSlotAsync(LuksHeader header, int index)
    {
        LuksSlot slot = header.Slots[index];
        LuksHeader changed = header.WithSlot(index, slot with { IsActive = false, Iterations = 0, Salt = new byte[LuksHeader.SaltLength] });
        await WriteHeaderAsync(changed);
        await file.WriteBytesAsync(start + slot.KeyOffset, RandomNumberGenerator.GetBytes(header.MaterialLength));
        await file.FlushAsync();
        return changed;
    }

    /// <summary>Makes a new volume with one password.</summary>
    /// <param name="options">What it is like.</param>
    /// <param name="password">The password.</param>
    /// <returns>The header and the master key.</returns>
    internal async IoTask<(LuksHeader Header, byte[] Key)> FormatAsync(LuksCreateOptions options, byte[] password)
    {
        byte[] key = RandomNumberGenerator.GetBytes(options.KeyLength);
        LuksHeader header = await Offload.Run(() => LuksKeys.NewHeader(options, key, isDetached));
        return (await FillSlotAsync(header, 0, key, password, options.IterTime), key);
    }
}
