namespace Ingot.Cli;

/// <summary>A command line taken apart: options in their order, and operands.</summary>
internal sealed class Arguments
{
    /// <summary>Options with their values, in the order given; a daemon acts in that order.</summary>
    public List<(string Name, string? Value)> Options { get; } = [];

    /// <summary>What is no option, in the order given.</summary>
    public List<string> Operands { get; } = [];

    public bool Has(string name) => Options.Exists(o => o.Name == name);

    /// <summary>The value of the last such option, or null.</summary>
    public string? Last(string name) => Options.FindLast(o => o.Name == name).Value;

    /// <summary>The values of all such options.</summary>
    public IEnumerable<string> All(string name) => Options.Where(o => o.Name == name).Select(o => o.Value!);

    /// <summary>A number that counts something, so that suffixes of sizes do not fit it.</summary>
    /// <param name="name">The option.</param>
    /// <param name="what">What it is, for messages: "queue depth".</param>
    /// <param name="min">The smallest allowed.</param>
    /// <param name="max">The largest allowed.</param>
    /// <returns>The value, or null when absent.</returns>
    public long? Number(string name, string what, long min = 0, long max = long.MaxValue)
        => Last(name) is { } text ? ParseNumber(text, what, min, max) : null;

    /// <summary>Reads a number as strtol(3) does: decimal, hexadecimal after 0x, octal after 0.</summary>
    /// <param name="text">The text.</param>
    /// <param name="what">What it is, for messages: "queue depth".</param>
    /// <param name="min">The smallest allowed.</param>
    /// <param name="max">The largest allowed.</param>
    /// <returns>The value.</returns>
    public static long ParseNumber(string text, string what, long min = 0, long max = long.MaxValue)
    {
        string trimmed = text.TrimStart();
        bool isNegative = trimmed.StartsWith('-');
        string digits = isNegative || trimmed.StartsWith('+') ? trimmed[1..] : trimmed;
        (string numerals, int radix) = digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? (digits[2..], 16)
            : digits.Length > 1 && digits[0] == '0' ? (digits[1..], 8)
            : (digits, 10);
        if (numerals.Length == 0 || numerals.Any(c => !char.IsAsciiHexDigit(c) || Convert.ToInt32(c.ToString(), 16) >= radix))
        {
            throw new UsageException($"Invalid {what} specified: '{text}'.") { HasHint = false };
        }

        // Larger than any bound is as good as any larger.
        Int128 value = numerals.Aggregate((Int128)0, (sum, c) => Int128.Min(long.MaxValue + (Int128)1, (sum * radix) + Convert.ToInt32(c.ToString(), 16)));
        value = isNegative ? -value : value;
        return value >= min && value <= max ? (long)value : throw OutOfRange(what, min, max);
    }

    /// <summary>A size or number, with a suffix or without.</summary>
    /// <param name="name">The option.</param>
    /// <param name="what">What it is, for messages: "buffer size".</param>
    /// <param name="min">The smallest allowed.</param>
    /// <param name="max">The largest allowed.</param>
    /// <returns>The value, or null when absent.</returns>
    public long? Size(string name, string what, long min = 0, long max = long.MaxValue)
        => Last(name) is { } text ? ParseSize(text, what, min, max) : null;

    /// <summary>Reads a size or number, with a suffix or without.</summary>
    /// <param name="text">The text.</param>
    /// <param name="what">What it is, for messages: "buffer size".</param>
    /// <param name="min">The smallest allowed.</param>
    /// <param name="max">The largest allowed.</param>
    /// <returns>The value.</returns>
    public static long ParseSize(string text, string what, long min = 0, long max = long.MaxValue)
    {
        bool isSize = Block.SizeText.TryParse(text, out long value);
        if (!isSize && !IsTooLargeSize(text))
        {
            throw new UsageException($"Invalid {what} specified: '{text}'.") { HasHint = false };
        }

        return isSize && value >= min && value <= max ? value : throw OutOfRange(what, min, max);
    }

    private static UsageException OutOfRange(string what, long min, long max)
        => new($"Invalid {what} specified. Must be between {min} and {max}.") { HasHint = false };

    // Also one below zero.
    private static bool IsTooLargeSize(string text)
        => text.Length > 1 && decimal.TryParse("kKMGTPEbB".Contains(text[^1]) ? text[..^1] : text, System.Globalization.NumberStyles.AllowDecimalPoint | System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out _);
}

/// <summary>A command line that a command can't take.</summary>
/// <param name="message">What is wrong.</param>
internal sealed class UsageException(string message) : Exception(message)
{
    /// <summary>Whether the message ends with where to find help.</summary>
    public bool HasHint { get; init; } = true;
}
