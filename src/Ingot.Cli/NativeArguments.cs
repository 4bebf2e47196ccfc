using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>The command line with the bytes that it was given: the runtime puts replacement characters where it is not UTF-8, which would name other files.</summary>
internal static class NativeArguments
{
    private const int MaxLength = 16 << 20;

    /// <summary>Takes the words as the kernel has them, if the runtime may have changed any.</summary>
    /// <param name="words">The last words of the command line, from the runtime.</param>
    /// <returns>The words as <see cref="NativeText"/> keeps them.</returns>
    /// <exception cref="ErrnoException">A word was changed, and what it was can't be found out.</exception>
    public static string[] Take(string[] words)
    {
        const char Replacement = '\uFFFD';
        if (!words.Any(word => word.Contains(Replacement)))
        {
            return words;
        }

        ReadOnlySpan<byte> line = WholeFile.Read("/proc/self/cmdline", MaxLength);
        var given = new List<string>();
        while (line.IndexOf((byte)0) is >= 0 and int end)
        {
            given.Add(NativeText.Decode(line[..end]));
            line = line[(end + 1)..];
        }

        // What runs a program that is not native has words of its own in front.
        string[] last = [.. given.TakeLast(words.Length)];
        return last.Select(NativeText.ToValid).SequenceEqual(words.Select(NativeText.ToValid), new SameButReplacements()) ? last
            : throw new ErrnoException(Errno.EILSEQ, $"'{words.First(word => word.Contains(Replacement))}' is not valid UTF-8");
    }

    // A sequence that is not valid may have been replaced by one character or by several.
    private sealed class SameButReplacements : IEqualityComparer<string>
    {
        public bool Equals(string? one, string? other) => Strip(one) == Strip(other);

        public int GetHashCode(string text) => Strip(text).GetHashCode(StringComparison.Ordinal);

        private static string Strip(string? text) => (text ?? "").Replace("\uFFFD", "", StringComparison.Ordinal);
    }
}
