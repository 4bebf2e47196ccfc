using System.Globalization;
using Ingot.Block;
using Ingot.Io;

namespace Ingot.Cli;

/// <summary>One command of the io tool.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Short">Its short name, or null.</param>
/// <param name="MinArguments">The fewest words after the name.</param>
/// <param name="MaxArguments">The most; null for any number.</param>
/// <param name="Letters">Its options as getopt(3) has them: "bP:q".</param>
/// <param name="Usage">Its arguments, for help.</param>
/// <param name="Summary">What it does, in one line.</param>
/// <param name="RunAsync">Runs it; false for failure, which it has told.</param>
internal sealed record IoCommand(
    string Name,
    string? Short,
    int MinArguments,
    int? MaxArguments,
    string Letters,
    string Usage,
    string Summary,
    Func<IoSession, IoWords, IoTask<bool>> RunAsync)
{
    /// <summary>False for commands that do without an open image.</summary>
    public bool NeedsImage { get; init; } = true;

    /// <summary>True when the image must be writable.</summary>
    public bool Writes { get; init; }

    /// <summary>More help, in lines.</summary>
    public string? Details { get; init; }

    /// <summary>Its line in the list of commands.</summary>
    public string HelpLine => HelpLineAs(Name);

    /// <summary>Its line under another name.</summary>
    /// <param name="name">The name.</param>
    /// <returns>The line.</returns>
    public string HelpLineAs(string name) => $"{name} {(Usage.Length > 0 ? Usage + " " : "")}-- {Summary}";
}

/// <summary>The words of a command, its options taken out.</summary>
/// <param name="arguments">Options under their letters, and operands.</param>
internal sealed class IoWords(Arguments arguments)
{
    public IReadOnlyList<string> Operands => arguments.Operands;

    /// <summary>Parses words by getopt's letters: "bP:q" knows -b, -P with a value, and -q.</summary>
    public static IoWords Parse(IReadOnlyList<string> words, string letters)
    {
        var options = new List<Option>();
        for (int i = 0; i < letters.Length; i++)
        {
            if (letters[i] != ':')
            {
                options.Add(new Option(letters[i], letters[i].ToString(), i + 1 < letters.Length && letters[i + 1] == ':' ? "VALUE" : null, ""));
            }
        }

        return new IoWords(GetOpt.Parse(options, words));
    }

    public bool Has(char letter) => arguments.Has(letter.ToString());

    public string? Last(char letter) => arguments.Last(letter.ToString());

    public IEnumerable<string> All(char letter) => arguments.All(letter.ToString());

    /// <summary>An operand as a number of bytes.</summary>
    public long Number(int index) => ParseNumber(Operands[index]);

    /// <summary>An option's value as a number of bytes, or null.</summary>
    public long? Number(char letter) => Last(letter) is { } text ? ParseNumber(text) : null;

    /// <summary>The byte that -P gives, or null.</summary>
    public byte? Pattern()
    {
        if (Last('P') is not { } text)
        {
            return null;
        }

        (string digits, int radix) = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? (text[2..], 16)
            : text.Length > 1 && text[0] == '0' ? (text[1..], 8)
            : (text, 10);
        try
        {
            return Convert.ToByte(digits, radix);
        }
        catch (Exception e) when (e is FormatException or OverflowException or ArgumentException)
        {
            throw new IoCommandException($"{text} is not a valid pattern byte");
        }
    }

    /// <summary>Shows the command's usage unless a condition holds.</summary>
    public static void Require(bool condition)
    {
        if (!condition)
        {
            throw new IoUsageException();
        }
    }

    /// <summary>Refuses the command when a condition holds.</summary>
    public static void Refuse(bool condition, string message)
    {
        if (condition)
        {
            throw new IoCommandException(message);
        }
    }

    /// <summary>Refuses a length, the second operand, that is too much for one request.</summary>
    public void RequireLength(long length, string unless)
        => Refuse(length > IoData.MaxLength, $"length cannot exceed {IoData.MaxLength}{unless}, given {Operands[1]}");

    private static long ParseNumber(string text)
        => SizeText.TryParse(text, out long value) ? value
            : decimal.TryParse(text.TrimEnd('b', 'B', 'k', 'K', 'M', 'G', 'T', 'P', 'E'), NumberStyles.None, CultureInfo.InvariantCulture, out _)
                ? throw new IoCommandException($"Parsing error: argument too large -- {text}")
                : throw new IoCommandException($"Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {text}");
}

/// <summary>A command that can't be done as it was given; told on standard output, as results are.</summary>
/// <param name="message">Why.</param>
internal sealed class IoCommandException(string message) : Exception(message)
{
    /// <summary>Whether a file of the host is why, which is told on standard error.</summary>
    public bool IsAboutFile { get; init; }
}

/// <summary>A command whose words do not fit its usage, which is then shown.</summary>
internal sealed class IoUsageException : Exception;
