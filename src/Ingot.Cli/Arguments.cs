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

        return isSize && value >= min && value <= max ? value
            : throw new UsageException($"Invalid {what} specified. Must be between {min} and {max}.") { HasHint = false };
    }

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
