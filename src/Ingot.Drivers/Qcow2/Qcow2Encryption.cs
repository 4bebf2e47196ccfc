using Ingot.Block;
using Ingot.Drivers.Crypto;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>The encryption of an open image. LUKS numbers sectors by their place in the file, the old AES by their place on the disk.</summary>
internal sealed class Qcow2Encryption
{
    private const int LegacyKeyLength = 16;

    private readonly SectorCipherPool _ciphers;
    private readonly EncryptedSectors _sectors;
    private readonly LuksVolume? _volume;
    private readonly SecretTable _secrets;

    private Qcow2Encryption(SectorCipherPool ciphers, LuksVolume? volume, SecretTable secrets)
    {
        _ciphers = ciphers;
        _sectors = new EncryptedSectors(ciphers);
        _volume = volume;
        _secrets = secrets;
    }

    /// <summary>Unlocks an image.</summary>
    /// <param name="image">The image.</param>
    /// <param name="options">The option "encrypt": format, key-secret.</param>
    /// <param name="secrets">Passwords by name.</param>
    /// <returns>Null for an image that is not encrypted, or of which only facts are wanted.</returns>
    internal static async IoTask<Qcow2Encryption?> OpenAsync(Qcow2Image image, OptionSet options, SecretTable secrets)
    {
        Qcow2Header header = image.Header.Current;
        string? format = options.TakeString("format");
        string? secret = options.TakeString("key-secret");
        if (header.Encryption == Qcow2EncryptionMethod.None)
        {
            return format is null ? null : throw new OptionException($"No encryption in image header, but options specified format '{format}'");
        }

        string method = header.Encryption == Qcow2EncryptionMethod.Luks ? "luks" : "aes";
        if (format is not null && format != method)
        {
            throw new OptionException($"Header reported '{method}' encryption format but options specify '{format}'");
        }

        if (!options.IsEmpty)
        {
            throw new OptionException($"Parameter '{options.Names.First()}' is unexpected");
        }

        image.KeySecret = secret;
        LuksVolume? volume = VolumeOf(image);
        image.LuksHeader = volume is null ? null : await ReadHeaderAsync(image, volume);
        if ((image.Flags & OpenFlags.NoIo) != 0)
        {
            return null;
        }

        byte[] password = secrets.GetPassword(secret ?? throw MissingSecret());
        return volume is null
            ? new Qcow2Encryption(LegacyCiphers(password), null, secrets)
            : new Qcow2Encryption(new SectorCipherPool(image.LuksHeader!.Format, await volume.UnlockAsync(image.LuksHeader, password, image.Flags)), volume, secrets);
    }

    /// <summary>Encrypts a new image: finds room for a LUKS header and makes it.</summary>
    /// <param name="image">The image; nothing is stored in it.</param>
    /// <param name="options">How to encrypt.</param>
    /// <param name="secrets">Passwords by name.</param>
    internal static async IoTask CreateAsync(Qcow2Image image, Qcow2EncryptionOptions options, SecretTable secrets)
    {
        byte[] password = options.Password(secrets);
        if (options.Luks is not { } luks)
        {
            image.Encryption = new Qcow2Encryption(LegacyCiphers(password), null, secrets);
            return;
        }

        await image.BeginChangeAsync();
        long length = LuksHeader.LengthFor(luks.KeyLength);
        ClusterRun run = await image.Allocator.AllocateAsync(image.Geometry.ClustersFor(length));
        long offset = run.First << image.Geometry.ClusterBits;
        await image.File.WriteZeroesAsync(offset, run.Count << image.Geometry.ClusterBits);
        var volume = new LuksVolume(image.File, offset, isDetached: false);
        (image.LuksHeader, byte[] key) = await volume.FormatAsync(luks, password);
        image.Encryption = new Qcow2Encryption(new SectorCipherPool(luks.Format, key), volume, secrets);
        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
        await image.Header.ReplaceAsync(image.Header.Current.WithLuks(offset, length));
    }

    /// <summary>Changes the passwords.</summary>
    /// <param name="image">The image.</param>
    /// <param name="options">What is to be changed; taken.</param>
    /// <param name="force">Allows what loses data.</param>
    internal static async IoTask AmendAsync(Qcow2Image image, OptionSet options, bool force)
    {
        Qcow2Encryption encryption = image.Encryption ?? throw new OptionException("Can't amend encryption options - encryption not present");
        LuksVolume volume = encryption._volume ?? throw new OptionException("Only LUKS encryption options can be amended");
        image.LuksHeader = await LuksAmend.RunAsync(volume, encryption._ciphers.Key, encryption._secrets, options, force);
    }

    /// <summary>What `info` tells.</summary>
    /// <param name="image">The image.</param>
    /// <returns>Names and values; null for an image that is not encrypted.</returns>
    internal static IReadOnlyList<(string Key, object Value)>? Describe(Qcow2Image image) => image.Header.Current.Encryption switch
    {
        Qcow2EncryptionMethod.None => null,
        Qcow2EncryptionMethod.Aes => [("format", "aes")],
        _ => EncryptionFacts.Describe(image.LuksHeader!, isDetached: false, withFormat: true),
    };

    /// <summary>The exception for an image that is to be unlocked without a secret.</summary>
    /// <returns>The exception.</returns>
    internal static OptionException MissingSecret() => new("Parameter 'encrypt.key-secret' is required for cipher");

    internal IoTask ReadAsync(HostFile file, long offset, long host, IoVector data) => _sectors.ReadAsync(file, host, NumberOf(offset, host), data);

    internal IoTask WriteAsync(HostFile file, long offset, long host, IoVector data, WriteFlags flags)
        => _sectors.WriteAsync(file, host, NumberOf(offset, host), data, flags);

    /// <summary>Forgets the key.</summary>
    internal void Close() => _ciphers.Close();

    private long NumberOf(long offset, long host) => _volume is null ? offset : host;

    private static LuksVolume? VolumeOf(Qcow2Image image)
        => image.Header.Current.LuksArea is { } area ? new LuksVolume(image.File, area.Offset, isDetached: false) : null;

    private static async IoTask<LuksHeader> ReadHeaderAsync(Qcow2Image image, LuksVolume volume)
    {
        LuksHeader header = await volume.ReadHeaderAsync();
        long length = image.Header.Current.LuksArea!.Value.Length;
        return header.End <= length ? header
            : throw new ImageFormatException($"Image '{image.File.FileName}': the key slots of its encryption end at {header.End}, but its encryption header has {length} bytes");
    }

    // What there was before LUKS: the password is the key.
    private static SectorCipherPool LegacyCiphers(byte[] password)
    {
        byte[] key = new byte[LegacyKeyLength];
        password.AsSpan(0, Math.Min(password.Length, LegacyKeyLength)).CopyTo(key);
        return new SectorCipherPool(new CipherFormat(SectorMode.Cbc, SectorNumbering.Plain64), key);
    }
}
