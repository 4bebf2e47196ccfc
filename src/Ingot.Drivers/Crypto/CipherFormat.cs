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

/// <summary>How the blocks of a sector are chained.</summary>
internal enum SectorMode
{
    /// <summary>XTS of IEEE 1619: the key has two halves.</summary>
    Xts,

    /// <summary>Each block is mixed with the one before it.</summary>
    Cbc,

    /// <summary>A stream from a counter that begins with the sector's number.</summary>
    Ctr,

    /// <summary>Every block by itself; hides little, there for volumes that use it.</summary>
    Ecb,
}

/// <summary>AES in a mode, as a LUKS header spells it ("xts-plain64", "cbc-essiv:sha256").</summary>
/// <param name="Mode">How blocks are chained.</param>
/// <param name="Numbering">How sectors are told apart.</param>
/// <param name="EssivHash">The hash of <see cref="SectorNumbering.Essiv"/>, in the spelling of headers.</param>
internal readonly record struct CipherFormat(SectorMode Mode, SectorNumbering Numbering, string? EssivHash = null)
{
    private static readonly string[] Modes = ["xts", "cbc", "ctr", "ecb"];
    private static readonly string[] Numberings = ["plain", "plain64", "essiv"];

    /// <summary>"xts", "cbc", "ctr" or "ecb".</summary>
    internal string ModeName => Modes[(int)Mode];

    /// <summary>"plain", "plain64" or "essiv".</summary>
    internal string NumberingName => Numberings[(int)Numbering];

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

        string[] numbering = parts[1].Split(':', 2);
        return TryCreate(parts[0], numbering[0], numbering.Length == 2 ? numbering[1] : null)
            ?? throw new ImageFormatException(Modes.Contains(parts[0])
                ? $"Initialization vectors '{parts[1]}' with cipher mode '{parts[0]}' are not supported"
                : $"Algorithm '{parts[0]}' for cipher mode is not supported");
    }

    /// <summary>The format of these words.</summary>
    /// <param name="mode">"xts".</param>
    /// <param name="numbering">"plain64".</param>
    /// <param name="essivHash">"sha256" with "essiv", else null.</param>
    /// <returns>The format; null for words that are not known or don't fit.</returns>
    internal static CipherFormat? TryCreate(string mode, string numbering, string? essivHash)
    {
        int modeIndex = Array.IndexOf(Modes, mode);
        int numberingIndex = Array.IndexOf(Numberings, numbering);
        bool isEssiv = numbering == "essiv";
        return modeIndex < 0 || numberingIndex < 0 || isEssiv != (essivHash is not null) || (isEssiv && EssivKeyHash(essivHash!) is null) ? null
            : new CipherFormat((SectorMode)modeIndex, (SectorNumbering)numberingIndex, essivHash);
    }

    /// <summary>A header's mode.</summary>
    /// <returns>"xts-plain64".</returns>
    public override string ToString() => $"{ModeName}-{NumberingName}{(EssivHash is null ? "" : $":{EssivHash}")}";

    /// <summary>The hash whose digest is a key of AES for <see cref="SectorNumbering.Essiv"/>.</summary>
    /// <param name="name">"sha256" or "md5".</param>
    /// <returns>The algorithm, or null for one that is not known or has another length.</returns>
    internal static HashAlgorithmName? EssivKeyHash(string name) => name switch
    {
        "sha256" => HashAlgorithmName.SHA256,
        "md5" => HashAlgorithmName.MD5,
        _ => null,
    };

    /// <summary>The hash of a name, for deriving keys.</summary>
    /// <param name="name">"sha256".</param>
    /// <returns>The algorithm, or null for one that is not known.</returns>
    internal static HashAlgorithmName? HashFrom(string name) => name switch
    {
        "sha1" => HashAlgorithmName.SHA1,
        "sha256" => HashAlgorithmName.SHA256,
        "sha384" => HashAlgorithmName.SHA384,
        "sha512" => HashAlgorithmName.SHA512,
        _ => null,
    };
}
