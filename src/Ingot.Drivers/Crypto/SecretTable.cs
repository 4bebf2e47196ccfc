using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Ingot.Block;
using Ingot.Linux;

namespace Ingot.Drivers.Crypto;

/// <summary>The passwords and keys of a process by their ids: what `--object secret` makes and options such as key-secret name.</summary>
public sealed class SecretTable
{
    private const int MaxFileLength = 1 << 20;
    private const int MasterKeyLength = 32;

    private readonly Dictionary<string, byte[]> _secrets = new(StringComparer.Ordinal);

    /// <summary>Adds the secret that options describe: id, data or file, format, keyid and iv.</summary>
    /// <param name="options">The options without "qom-type"; all are taken.</param>
    /// <exception cref="OptionException">An option is missing or wrong.</exception>
    public void Add(OptionSet options)
    {
        string id = options.TakeRequired("id");
        byte[] secret = Load(id, options);
        Add(id, secret, options);
    }

    /// <summary>Adds a key of the kernel's key rings: id, serial, and format, keyid and iv as for other secrets.</summary>
    /// <param name="options">The options without "qom-type"; all are taken.</param>
    /// <exception cref="OptionException">An option is missing or wrong, or the key can't be read.</exception>
    public void AddKey(OptionSet options)
    {
        string id = options.TakeRequired("id");
        string text = options.TakeRequired("serial");
        if (!long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number))
        {
            throw new OptionException("Parameter 'serial' expects integer");
        }

        int serial = number is >= int.MinValue and <= int.MaxValue ? (int)number : throw new OptionException("Parameter 'serial' expects int32_t");
        if (serial == 0)
        {
            throw new OptionException("'serial' should not be equal to 0");
        }

        byte[] key = Libc.TryReadKey(serial, out Errno errno) ?? throw ErrnoException.For(errno, $"Unable to read serial key {serial:x8}");
        Add(id, Decode(id, key, options), options);
    }

    private void Add(string id, byte[] secret, OptionSet options)
    {
        options.RefuseRest("object 'secret'");
        if (!_secrets.TryAdd(id, secret))
        {
            throw new OptionException($"attempt to add duplicate property '{id}' to object (type 'container')");
        }
    }

    /// <summary>Finds a secret.</summary>
    /// <param name="id">Its id.</param>
    /// <returns>Its bytes.</returns>
    /// <exception cref="OptionException">There is none.</exception>
    public ReadOnlySpan<byte> Get(string id) => _secrets.TryGetValue(id, out byte[]? secret) ? secret : throw new OptionException($"No secret with id '{id}'");

    /// <summary>Finds a secret that is a password: text, so that it can be typed anywhere.</summary>
    /// <param name="id">Its id.</param>
    /// <returns>Its bytes in UTF-8.</returns>
    /// <exception cref="OptionException">There is none, or it is no text.</exception>
    public byte[] GetPassword(string id)
    {
        ReadOnlySpan<byte> secret = Get(id);
        return System.Text.Unicode.Utf8.IsValid(secret) ? secret.ToArray() : throw new OptionException($"Data from secret {id} is not valid UTF-8");
    }

    private byte[] Load(string id, OptionSet options)
    {
        string? data = options.TakeString("data");
        string? file = options.TakeString("file");
        byte[] bytes = (data, file) switch
        {
            (null, null) => throw new OptionException("Either 'file' or 'data' must be provided"),
            (not null, not null) => throw new OptionException("'file' and 'data' are mutually exclusive"),
            (not null, null) => NativeText.Encode(data),
            _ => ReadFile(file!),
        };
        return Decode(id, bytes, options);
    }

    private byte[] Decode(string id, byte[] bytes, OptionSet options)
    {
        string format = options.TakeWord("format", "raw", "base64") ?? "raw";
        string? keyId = options.TakeString("keyid");
        string? iv = options.TakeString("iv");
        if (keyId is not null)
        {
            return Decrypt(id, FromBase64(bytes), keyId, iv);
        }

        if (iv is not null)
        {
            throw new OptionException("IV should not be set if not encrypting the secret");
        }

        return format == "base64" ? FromBase64(bytes) : bytes;
    }

    private byte[] Decrypt(string id, byte[] encrypted, string keyId, string? iv)
    {
        ReadOnlySpan<byte> key = Get(keyId);
        if (key.Length != MasterKeyLength)
        {
            throw new OptionException($"Key should be {MasterKeyLength} bytes in length");
        }

        byte[] vector = FromBase64(Encoding.UTF8.GetBytes(iv ?? throw new OptionException("IV is required to decrypt secret")));
        if (vector.Length != 16)
        {
            throw new OptionException($"IV should be 16 bytes in length not {vector.Length}");
        }

        using var aes = Aes.Create();
        aes.SetKey(key);
        try
        {
            return aes.DecryptCbc(encrypted, vector);
        }
        catch (CryptographicException e)
        {
            throw new OptionException($"Secret '{id}' can't be decrypted with the key of '{keyId}': {e.Message}");
        }
    }

    private static byte[] ReadFile(string file)
    {
        try
        {
            byte[] content = WholeFile.Read(file, MaxFileLength + 1);
            return content.Length <= MaxFileLength ? content : throw new OptionException($"Unable to read {file}: larger than {MaxFileLength} bytes");
        }
        catch (FileReadException e)
        {
            throw new OptionException($"Unable to read {file}: {(e.IsOpen ? "Error reading" : "Failed to open")} file “{file}”: {ErrnoException.Text(e.Errno)}");
        }
    }

    private static byte[] FromBase64(byte[] text)
    {
        try
        {
            return Convert.FromBase64String(Encoding.ASCII.GetString(text));
        }
        catch (FormatException)
        {
            throw new OptionException("Base64 data contains invalid characters");
        }
    }
}
