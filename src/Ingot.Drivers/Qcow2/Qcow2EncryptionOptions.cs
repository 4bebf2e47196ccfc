using Ingot.Block;
using Ingot.Drivers.Crypto;

namespace Ingot.Drivers.Qcow2;

/// <summary>How a new image is encrypted.</summary>
/// <param name="KeySecret">The id of the secret that has the password; null when it was not given.</param>
/// <param name="Luks">The LUKS volume; null for the old AES.</param>
internal sealed record Qcow2EncryptionOptions(string? KeySecret, LuksCreateOptions? Luks)
{
    internal static IReadOnlyList<(string Name, string Help)> Options { get; } =
    [
        ("encryption", "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
        ("encrypt.format", "Encrypt the image, format choices: 'aes', 'luks'"),
        ("encrypt.key-secret", "ID of secret providing qcow AES key or LUKS passphrase"),
        .. LuksCreateOptions.Options.Select(o => ($"encrypt.{o.Name}", o.Help)),
    ];

    internal Qcow2EncryptionMethod Method => Luks is null ? Qcow2EncryptionMethod.Aes : Qcow2EncryptionMethod.Luks;

    /// <summary>Bytes of the image that the encryption takes.</summary>
    internal long Length => Luks is null ? 0 : LuksHeader.LengthFor(Luks.KeyLength);

    /// <summary>Takes "encryption" and "encrypt".</summary>
    /// <param name="options">Creation options.</param>
    /// <returns>Null for an image that is not to be encrypted.</returns>
    internal static Qcow2EncryptionOptions? Take(OptionSet options)
    {
        bool? isLegacy = options.TakeBool("encryption");
        OptionSet encrypt = options.TakeSet("encrypt");
        string? format = encrypt.TakeString("format");
        if (format is not null && isLegacy is not null)
        {
            throw new OptionException("'encrypt.format' and its alias 'encryption' can't be used at the same time");
        }

        format ??= isLegacy == true ? "aes" : null;
        switch (format)
        {
            case "luks":
                LuksCreateOptions luks = LuksCreateOptions.Take(encrypt, "encrypt.");
                return new Qcow2EncryptionOptions(luks.KeySecret, luks);
            case "aes":
                string? secret = encrypt.TakeString("key-secret");
                return encrypt.IsEmpty ? new Qcow2EncryptionOptions(secret, null) : throw new OptionException($"Parameter 'encrypt.{encrypt.Names.First()}' is unexpected");
            case null:
                return encrypt.IsEmpty ? null : throw new OptionException("Parameter 'encrypt.format' is missing");
            default:
                throw new OptionException($"Parameter 'format' does not accept value '{format}'");
        }
    }

    /// <summary>The password.</summary>
    /// <param name="secrets">Passwords by name.</param>
    /// <returns>The bytes.</returns>
    internal byte[] Password(SecretTable secrets) => secrets.GetPassword(KeySecret ?? throw Qcow2Encryption.MissingSecret());
}
