using System.Security.Cryptography;
using Ingot.Io;

namespace Ingot.Drivers.Crypto;

/// <summary>An unlocked volume's ciphers, rented for the time of one piece of work, since large pieces run beside the loop.</summary>
internal sealed class SectorCipherPool(CipherFormat format, byte[] key)
{
    // Up to this, the hop to another thread and back would cost more than it gives.
    private const int MaxInline = 32 * 1024;

    private readonly Stack<SectorWork> _free = new();

    /// <summary>The key; forgotten with <see cref="Close"/>.</summary>
    internal byte[] Key => key;

    /// <summary>Encrypts whole sectors.</summary>
    /// <param name="sector">The number of the first.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="target">Where they go; may be the source.</param>
    internal IoTask EncryptAsync(long sector, IoVector source, IoVector target) => ProcessAsync(sector, source, target, isEncryption: true);

    /// <summary>Decrypts whole sectors.</summary>
    /// <param name="sector">The number of the first.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="target">Where they go; may be the source.</param>
    internal IoTask DecryptAsync(long sector, IoVector source, IoVector target) => ProcessAsync(sector, source, target, isEncryption: false);

    /// <summary>Forgets the ciphers and their keys.</summary>
    internal void Close()
    {
        while (_free.TryPop(out SectorWork? work))
        {
            work.Cipher.Dispose();
        }

        CryptographicOperations.ZeroMemory(key);
    }

    private IoTask ProcessAsync(long sector, IoVector source, IoVector target, bool isEncryption)
    {
        SectorWork work = _free.TryPop(out SectorWork? free) ? free : new SectorWork(new SectorCipher(format, key));
        if (source.Length > MaxInline)
        {
            return OffloadAsync(work, sector, source, target, isEncryption);
        }

        work.Do(sector, source, target, isEncryption);
        _free.Push(work);
        return IoTask.Completed;
    }

    private async IoTask OffloadAsync(SectorWork work, long sector, IoVector source, IoVector target, bool isEncryption)
    {
        await work.RunAsync(sector, source, target, isEncryption);
        _free.Push(work);
    }

    private sealed class SectorWork(SectorCipher cipher) : OffloadedWork
    {
        private long _sector;
        private IoVector _source;
        private IoVector _target;
        private bool _isEncryption;

        internal SectorCipher Cipher => cipher;

        internal IoTask RunAsync(long sector, IoVector source, IoVector target, bool isEncryption)
        {
            (_sector, _source, _target, _isEncryption) = (sector, source, target, isEncryption);
            return RunAsync();
        }

        internal void Do(long sector, IoVector source, IoVector target, bool isEncryption)
        {
            if (isEncryption)
            {
                cipher.Encrypt(sector, source, target);
            }
            else
            {
                cipher.Decrypt(sector, source, target);
            }
        }

        protected override void Work() => Do(_sector, _source, _target, _isEncryption);
    }
}
