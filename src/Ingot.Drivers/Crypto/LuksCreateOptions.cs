using Ingot.Block;

namespace Ingot.Drivers.Crypto;

/// <summary>What a new LUKS1 volume is like.</summary>
internal sealed record LuksCreateOptions
{
    private const int DefaultIterTime = 2000;

    internal static IReadOnlyList<(string Name, string Help)> Options { get; } =
    [
        ("cipher-alg", "Name of encryption cipher algorithm"),
        ("cipher-mode", "Name of encryption cipher mode"),
        ("hash-alg", "Name of encryption hash algorithm"),
        ("iter-time", "Time to spend in PBKDF in milliseconds"),
        ("ivgen-alg", "Name of IV generator algorithm"),
        ("ivgen-hash-alg", "Name of IV generator hash algorithm"),
    ];

    /// <summary>The id of the secret that has the password.</summary>
    internal required string KeySecret { get; init; }

    internal required CipherFormat Format { get; init; }

    internal required int KeyLength { get; init; }

    internal required string HashName { get; init; }

    /// <summary>How long trying a password shall take, in milliseconds.</summary>
    internal long IterTime { get; init; }

    /// <summary>Takes the options.</summary>
    /// <param name="options">The options.</param>
    /// <param name="prefix">What the names begin with for the user: "encrypt.".</param>
    /// <returns>The options, checked.</returns>
    /// <exception cref="OptionException">One is missing or wrong.</exception>
    internal static LuksCreateOptions Take(OptionSet options, string prefix)
    {
        string? secret = options.TakeString("key-secret");
        string cipher = Take(options, "cipher-alg", "aes-256", ["aes-128", "aes-192", "aes-256"],
            ["cast5-128", "des", "3des", "serpent-128", "serpent-192", "serpent-256", "twofish-128", "twofish-192", "twofish-256", "sm4"]);
        string mode = Take(options, "cipher-mode", "xts", ["xts", "cbc", "ctr", "ecb"], []);
        string numbering = Take(options, "ivgen-alg", "plain64", ["plain", "plain64", "essiv"], []);
        string essiv = Take(options, "ivgen-hash-alg", "sha256", ["md5", "sha1", "sha256", "sha384", "sha512"], ["sha224", "ripemd160", "sm3"]);
        string hash = Take(options, "hash-alg", "sha256", ["sha1", "sha256", "sha384", "sha512"], ["md5", "sha224", "ripemd160", "sm3"]);
        CipherFormat format = CipherFormat.TryCreate(mode, numbering, numbering == "essiv" ? essiv : null)
            ?? throw new OptionException($"No AES cipher with the key size of hash '{essiv}' available");
        int keyBits = int.Parse(cipher.AsSpan(4), System.Globalization.CultureInfo.InvariantCulture);
        return new LuksCreateOptions
        {
            KeySecret = secret ?? throw new OptionException($"Parameter '{prefix}key-secret' is required for cipher"),
            Format = format,
            KeyLength = keyBits / 8 * (format.Mode == SectorMode.Xts ? 2 : 1),
            HashName = hash,
            IterTime = options.TakeNumber("iter-time", 0) ?? DefaultIterTime,
        };
    }

    private static string Take(OptionSet options, string name, string standard, ReadOnlySpan<string> known, ReadOnlySpan<string> unknown)
    {
        string word = options.TakeString(name) ?? standard;
        return known.Contains(word) ? word
            : throw new OptionException(unknown.Contains(word) ? $"Algorithm '{word}' not supported" : $"Parameter '{name}' does not accept value '{word}'");
    }
}
