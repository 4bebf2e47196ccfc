using System.Security.Cryptography;
using Ingot.Block;

namespace Ingot.Drivers.Crypto;

/// <summary>How a sector's number becomes what its encryption starts from.</summary>
internal enum SectorNumbering
{
    /// <summary>The low 32 bits.</summary>
    Plain,

    /// <summary>All 64 bits.</summary>
    Plain64,

    /// <summary>All 64 bits, encrypted with a hash of the key.</summary>
    Essiv,
}

/// <summary>AES in a mode, as a LUKS header spells it ("xts-plain64", "cbc-essiv:sha256").</summary>
/// <param name="IsXts">XTS; otherwise CBC.</param>
/// <param name="Numbering">How sectors are told apart.</param>
/// <param name="EssivHash">The hash of <see cref="SectorNumbering.Essiv"/>.</param>
internal readonly record struct CipherFormat(bool IsXts, SectorNumbering Numbering, HashAlgorithmName EssivHash)
{
    /// <summary>"xts" or "cbc".</summary>
    internal string ModeName => IsXts ? "xts" : "cbc";

    /// <summary>"plain", "plain64" or "essiv".</summary>
    internal string NumberingName => Numbering switch
    {
        SectorNumbering.Plain => "plain",
        SectorNumbering.Plain64 => "plain64",
        _ => "essiv",
    };

    /// <summary>Reads a header's mode.</summary>
    /// <param name="text">The field.</param>
    /// <returns>The format.</returns>
    /// <exception cref="ImageFormatException">It is not known.</exception>
    internal static CipherFormat Parse(string text)
    {
        string[] parts = text.Split('-', 2);
        if (parts.Length != 2)
        {
            throw new ImageFormatException($"Unexpected cipher mode string format '{text}'");
        }

        bool isXts = parts[0] switch
        {
            "xts" => true,
            "cbc" => false,
            _ => throw new ImageFormatException($"Algorithm '{parts[0]}' for cipher mode is not supported"),
        };
        string[] numbering = parts[1].Split(':', 2);
        return numbering switch
        {
            ["plain"] => new CipherFormat(isXts, SectorNumbering.Plain, default),
            ["plain64"] => new CipherFormat(isXts, SectorNumbering.Plain64, default),
            ["essiv", var hash] when HashFrom(hash) is { } known && known != HashAlgorithmName.SHA1 && known != HashAlgorithmName.SHA512 && !isXts
                => new CipherFormat(isXts, SectorNumbering.Essiv, known),
            _ => throw new ImageFormatException($"Initialization vectors '{parts[1]}' with cipher mode '{parts[0]}' are not supported"),
        };
    }

    /// <summary>The hash of a name.</summary>
    /// <param name="name">"sha256".</param>
    /// <returns>The algorithm, or null for one that is not known.</returns>
    internal static HashAlgorithmName? HashFrom(string name) => name switch
    {
        "sha1" => HashAlgorithmName.SHA1,
        "sha256" => HashAlgorithmName.SHA256,
        "sha512" => HashAlgorithmName.SHA512,
        _ => null,
    };
}
