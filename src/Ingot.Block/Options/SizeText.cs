using System.Globalization;

namespace Ingot.Block;

/// <summary>Sizes as people write them: a number with an optional suffix b, k, M, G, T, P, E (powers of 1024), or hexadecimal without one.</summary>
public static class SizeText
{
    /// <summary>What to tell somebody whose text is no size.</summary>
    public const string Expectation = "expects a non-negative number below 2^64\n"
        + "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.";

    private const string Suffixes = "BKMGTPE";

    /// <summary>Reads a size.</summary>
    /// <param name="text">For example "4k", "1.5G", "0x1000".</param>
    /// <param name="bytes">The size in bytes.</param>
    /// <param name="defaultSuffix">What a number without a suffix counts: 'B' for bytes.</param>
    /// <returns>False when the text is no size or does not fit into 63 bits.</returns>
    public static bool TryParse(string text, out long bytes, char defaultSuffix = 'B')
    {
        bytes = 0;
        text = text.TrimStart(); // as strtod(3) has it
        if (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
        {
            return long.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out bytes) && bytes >= 0;
        }

        if (text.Length == 0)
        {
            return false;
        }

        int shift = Suffixes.IndexOf(char.ToUpperInvariant(text[^1]));
        ReadOnlySpan<char> number = shift >= 0 ? text.AsSpan(0, text.Length - 1) : text;
        shift = 10 * (shift >= 0 ? shift : Suffixes.IndexOf(char.ToUpperInvariant(defaultSuffix)));
        if (ulong.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out ulong whole))
        {
            if (whole > (ulong)long.MaxValue >> shift)
            {
                return false;
            }

            bytes = (long)(whole << shift);
            return true;
        }

        if (!TryParseLarge(text, out decimal product) || product > long.MaxValue)
        {
            return false;
        }

        bytes = (long)product;
        return true;
    }

    /// <summary>Reads a decimal size of any magnitude, to tell those that are too large from what is no size.</summary>
    /// <param name="text">For example "16E".</param>
    /// <param name="bytes">The size in bytes.</param>
    /// <returns>False when the text is no size.</returns>
    public static bool TryParseLarge(string text, out decimal bytes)
    {
        bytes = 0;
        int shift = text.Length == 0 ? -1 : 10 * Suffixes.IndexOf(char.ToUpperInvariant(text[^1]));
        string number = shift >= 0 ? text[..^1] : text;
        NumberStyles style = shift > 0 ? NumberStyles.AllowDecimalPoint : NumberStyles.None;
        if (number.Length is 0 or > 20 || !decimal.TryParse(number, style, CultureInfo.InvariantCulture, out decimal value))
        {
            return false;
        }

        bytes = value * (1L << Math.Max(0, shift));
        return true;
    }

    /// <summary>A size for people, as qemu-img prints it: "64 KiB", "1.5 GiB".</summary>
    /// <param name="bytes">Bytes.</param>
    /// <returns>Three significant digits and a unit.</returns>
    public static string ToHuman(long bytes)
    {
        string[] units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        double value = bytes;
        int unit = 0;
        while (value >= 1000 && unit < units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return $"{FormatThree(value)} {units[unit]}";
    }

    // printf's "%0.3g" as far as sizes need it, down to rounding halves to even digits.
    private static string FormatThree(double value)
    {
        int decimals = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 || value == 0 ? 2 : 3;
        value = Math.Round(value, decimals, MidpointRounding.ToEven);
        string text = value >= 1000 ? "1e+03" : value.ToString("F" + decimals, CultureInfo.InvariantCulture);
        return text.Contains('.') ? text.TrimEnd('0').TrimEnd('.') : text;
    }
}
