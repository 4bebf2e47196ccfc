using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Ingot.Io;

namespace Ingot.Drivers.Crypto;

/// <summary>
/// Encrypts and decrypts whole sectors with AES, each sector by its number: the modes on top of AES in bulk. An instance serves one thread at a
/// time and keeps its scratch memory, so that requests allocate nothing.
/// </summary>
internal sealed class SectorCipher : IDisposable
{
    internal const int SectorSize = 512;
    private const int BlockSize = 16;
    private const int ChunkSectors = 16;
    private const int ChunkSize = ChunkSectors * SectorSize;

    private readonly SectorMode _mode;
    private readonly SectorNumbering _numbering;
    private readonly Aes _dataAes;
    private readonly Aes? _tweakAes;
    private readonly Aes? _numberAes;
    private readonly ICryptoTransform _encrypt;
    private readonly ICryptoTransform _decrypt;
    private readonly ICryptoTransform? _encryptTweaks;
    private readonly ICryptoTransform? _encryptNumbers;
    private readonly byte[] _data = new byte[ChunkSize];
    private readonly byte[] _result = new byte[ChunkSize];
    private readonly byte[] _tweaks = new byte[ChunkSize];
    private readonly byte[] _numbers = new byte[ChunkSectors * BlockSize];

    /// <summary>Creates a cipher.</summary>
    /// <param name="format">Cipher, mode and numbering.</param>
    /// <param name="key">The key; of both halves for XTS.</param>
    internal SectorCipher(CipherFormat format, ReadOnlySpan<byte> key)
    {
        _mode = format.Mode;
        _numbering = format.Numbering;
        bool isXts = _mode == SectorMode.Xts;
        _dataAes = NewAes(isXts ? key[..(key.Length / 2)] : key);
        _encrypt = _dataAes.CreateEncryptor();
        _decrypt = _dataAes.CreateDecryptor();
        if (isXts)
        {
            _tweakAes = NewAes(key[(key.Length / 2)..]);
            _encryptTweaks = _tweakAes.CreateEncryptor();
        }

        if (format.EssivHash is { } hash)
        {
            _numberAes = NewAes(CryptographicOperations.HashData(CipherFormat.EssivKeyHash(hash)!.Value, key));
            _encryptNumbers = _numberAes.CreateEncryptor();
        }
    }

    /// <summary>Encrypts whole sectors.</summary>
    /// <param name="sector">The number of the first.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="target">Where they go; may be the source.</param>
    internal void Encrypt(long sector, IoVector source, IoVector target) => Process(sector, source, target, isEncryption: true);

    /// <summary>Decrypts whole sectors.</summary>
    /// <param name="sector">The number of the first.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="target">Where they go; may be the source.</param>
    internal void Decrypt(long sector, IoVector source, IoVector target) => Process(sector, source, target, isEncryption: false);

    /// <summary>Decrypts whole sectors in place.</summary>
    /// <param name="sector">The number of the first.</param>
    /// <param name="bytes">The sectors.</param>
    internal void Decrypt(long sector, Span<byte> bytes) => Process(sector, bytes, isEncryption: false);

    /// <summary>Encrypts whole sectors in place.</summary>
    /// <param name="sector">The number of the first.</param>
    /// <param name="bytes">The sectors.</param>
    internal void Encrypt(long sector, Span<byte> bytes) => Process(sector, bytes, isEncryption: true);

    /// <inheritdoc/>
    public void Dispose()
    {
        _encrypt.Dispose();
        _decrypt.Dispose();
        _encryptTweaks?.Dispose();
        _encryptNumbers?.Dispose();
        _dataAes.Dispose();
        _tweakAes?.Dispose();
        _numberAes?.Dispose();
    }

    private static Aes NewAes(ReadOnlySpan<byte> key)
    {
        var aes = Aes.Create();
        aes.Mode = CipherMode.ECB;
        aes.Padding = PaddingMode.None;
        aes.SetKey(key);
        return aes;
    }

    private void Process(long sector, IoVector source, IoVector target, bool isEncryption)
    {
        for (long done = 0; done < source.Length; done += ChunkSize)
        {
            int length = (int)Math.Min(ChunkSize, source.Length - done);
            source.Slice(done, length).CopyTo(_data.AsSpan(0, length));
            ProcessChunk(sector + (done / SectorSize), length, isEncryption);
            target.Slice(done, length).CopyFrom(_result.AsSpan(0, length));
        }
    }

    private void Process(long sector, Span<byte> bytes, bool isEncryption)
    {
        for (int done = 0; done < bytes.Length; done += ChunkSize)
        {
            int length = Math.Min(ChunkSize, bytes.Length - done);
            bytes.Slice(done, length).CopyTo(_data);
            ProcessChunk(sector + (done / SectorSize), length, isEncryption);
            _result.AsSpan(0, length).CopyTo(bytes[done..]);
        }
    }

    private void ProcessChunk(long sector, int length, bool isEncryption)
    {
        PrepareNumbers(sector, length / SectorSize);
        switch (_mode)
        {
            case SectorMode.Xts:
                ProcessXts(length, isEncryption);
                break;
            case SectorMode.Ctr:
                ProcessCtr(length);
                break;
            case SectorMode.Ecb:
                (isEncryption ? _encrypt : _decrypt).TransformBlock(_data, 0, length, _result, 0);
                break;
            case SectorMode.Cbc when isEncryption:
                EncryptCbc(length);
                break;
            default:
                DecryptCbc(length);
                break;
        }
    }

    // Leaves what each sector starts from in _numbers: the encrypted tweak of XTS, the vector of CBC.
    private void PrepareNumbers(long sector, int count)
    {
        Span<byte> numbers = _numbers.AsSpan(0, count * BlockSize);
        numbers.Clear();
        for (int i = 0; i < count; i++)
        {
            ulong number = (ulong)(sector + i);
            BinaryPrimitives.WriteUInt64LittleEndian(numbers[(i * BlockSize)..], _numbering == SectorNumbering.Plain ? (uint)number : number);
        }

        _encryptNumbers?.TransformBlock(_numbers, 0, numbers.Length, _numbers, 0);
        _encryptTweaks?.TransformBlock(_numbers, 0, numbers.Length, _numbers, 0);
    }

    private void ProcessXts(int length, bool isEncryption)
    {
        Span<ulong> tweaks = MemoryMarshal.Cast<byte, ulong>(_tweaks.AsSpan(0, length));
        for (int start = 0; start < length; start += SectorSize)
        {
            ReadOnlySpan<byte> first = _numbers.AsSpan(start / SectorSize * BlockSize, BlockSize);
            ulong low = BinaryPrimitives.ReadUInt64LittleEndian(first);
            ulong high = BinaryPrimitives.ReadUInt64LittleEndian(first[8..]);
            Span<ulong> sector = tweaks.Slice(start / 8, SectorSize / 8);
            for (int i = 0; i < sector.Length; i += 2)
            {
                sector[i] = low;
                sector[i + 1] = high;
                ulong carry = (ulong)((long)high >> 63) & 0x87; // times x in GF(2^128), IEEE 1619
                high = (high << 1) | (low >> 63);
                low = (low << 1) ^ carry;
            }
        }

        Xor(_data.AsSpan(0, length), _tweaks);
        (isEncryption ? _encrypt : _decrypt).TransformBlock(_data, 0, length, _result, 0);
        Xor(_result.AsSpan(0, length), _tweaks);
    }

    // The first counter is the vector, read as one number of 128 bits in big endian.
    private void ProcessCtr(int length)
    {
        for (int start = 0; start < length; start += SectorSize)
        {
            UInt128 counter = BinaryPrimitives.ReadUInt128BigEndian(_numbers.AsSpan(start / SectorSize * BlockSize));
            for (int block = 0; block < SectorSize; block += BlockSize)
            {
                BinaryPrimitives.WriteUInt128BigEndian(_tweaks.AsSpan(start + block), counter++);
            }
        }

        _encrypt.TransformBlock(_tweaks, 0, length, _result, 0);
        Xor(_result.AsSpan(0, length), _data);
    }

    private void DecryptCbc(int length)
    {
        _decrypt.TransformBlock(_data, 0, length, _result, 0);
        for (int start = 0; start < length; start += SectorSize)
        {
            Xor(_result.AsSpan(start, BlockSize), _numbers.AsSpan(start / SectorSize * BlockSize));
            Xor(_result.AsSpan(start + BlockSize, SectorSize - BlockSize), _data.AsSpan(start));
        }
    }

    // Each block needs the one before it, but sectors are independent: one block of all sectors at a time.
    private void EncryptCbc(int length)
    {
        int count = length / SectorSize;
        for (int block = 0; block < SectorSize; block += BlockSize)
        {
            Span<byte> chain = _numbers.AsSpan(0, count * BlockSize);
            for (int i = 0; i < count; i++)
            {
                Xor(chain.Slice(i * BlockSize, BlockSize), _data.AsSpan((i * SectorSize) + block));
            }

            _encrypt.TransformBlock(_numbers, 0, chain.Length, _numbers, 0);
            for (int i = 0; i < count; i++)
            {
                chain.Slice(i * BlockSize, BlockSize).CopyTo(_result.AsSpan((i * SectorSize) + block));
            }
        }
    }

    private static void Xor(Span<byte> target, ReadOnlySpan<byte> mask)
    {
        int whole = target.Length / Vector<byte>.Count * Vector<byte>.Count;
        Span<Vector<byte>> vectors = MemoryMarshal.Cast<byte, Vector<byte>>(target[..whole]);
        ReadOnlySpan<Vector<byte>> masks = MemoryMarshal.Cast<byte, Vector<byte>>(mask[..whole]);
        for (int i = 0; i < vectors.Length; i++)
        {
            vectors[i] ^= masks[i];
        }

        for (int i = whole; i < target.Length; i++)
        {
            target[i] ^= mask[i];
        }
    }
}
