using System.Text;

namespace Ingot.Linux;

/// <summary>
/// Text of the operating system, which is bytes: UTF-8 as a rule, but a file name can have any. A byte that is not part of valid UTF-8 is kept as a lone
/// surrogate, U+DC80 to U+DCFF, which no valid text has; it becomes that byte again on its way out.
/// </summary>
public static class NativeText
{
    private const int Escape = 0xDC00;
    private const char FirstEscape = '\uDC80';
    private const char LastEscape = '\uDCFF';

    /// <summary>The same as an encoding, for writers.</summary>
    public static Encoding Encoding { get; } = new NativeEncoding();

    /// <summary>Reads text.</summary>
    /// <param name="bytes">Any bytes.</param>
    /// <returns>The text.</returns>
    public static string Decode(ReadOnlySpan<byte> bytes)
    {
        if (System.Text.Unicode.Utf8.IsValid(bytes))
        {
            return Encoding.UTF8.GetString(bytes);
        }

        var text = new StringBuilder(bytes.Length);
        while (!bytes.IsEmpty)
        {
            bool isValid = Rune.DecodeFromUtf8(bytes, out Rune rune, out int length) == System.Buffers.OperationStatus.Done;
            if (isValid)
            {
                text.Append(rune.ToString());
            }

            for (int i = 0; i < length && !isValid; i++)
            {
                text.Append((char)(Escape + bytes[i]));
            }

            bytes = bytes[length..];
        }

        return text.ToString();
    }

    /// <summary>Writes text.</summary>
    /// <param name="text">Text as <see cref="Decode"/> gives it.</param>
    /// <returns>The bytes.</returns>
    public static byte[] Encode(string text)
    {
        if (!HasEscapes(text))
        {
            return Encoding.UTF8.GetBytes(text);
        }

        var bytes = new byte[Encoding.UTF8.GetMaxByteCount(text.Length)];
        return bytes[..Encode(text, bytes)];
    }

    /// <summary>Writes text.</summary>
    /// <param name="text">Text as <see cref="Decode"/> gives it.</param>
    /// <param name="bytes">Long enough.</param>
    /// <returns>How many bytes were written.</returns>
    public static int Encode(ReadOnlySpan<char> text, Span<byte> bytes)
    {
        int written = 0;
        while (!text.IsEmpty)
        {
            bool isValid = Rune.DecodeFromUtf16(text, out Rune rune, out int length) == System.Buffers.OperationStatus.Done;
            if (!isValid && text[0] is >= FirstEscape and <= LastEscape)
            {
                bytes[written++] = (byte)(text[0] - Escape);
            }
            else
            {
                written += rune.EncodeToUtf8(bytes[written..]); // the replacement character for what no text has
            }

            text = text[length..];
        }

        return written;
    }

    /// <summary>Whether a text stands for bytes that are not valid UTF-8, so that what takes valid text alone can't have it.</summary>
    /// <param name="text">The text.</param>
    /// <returns>True when it does.</returns>
    public static bool HasEscapes(string text) => text.AsSpan().ContainsAnyInRange(FirstEscape, LastEscape) && ToValid(text) != text;

    /// <summary>Valid text to show in place of one that is not.</summary>
    /// <param name="text">The text.</param>
    /// <returns>It has the replacement character where there was something else.</returns>
    public static string ToValid(string text) => string.Concat(text.EnumerateRunes());

    /// <summary>The absolute path of a file. The runtime's own way reads the current directory's name as UTF-8.</summary>
    /// <param name="path">A path.</param>
    /// <returns>The path without "." and "..".</returns>
    public static string FullPath(string path)
        => path.StartsWith('/') || Libc.TryCurrentDirectory() is not { } directory ? Path.GetFullPath(path) : Path.GetFullPath(path, directory);

    private sealed class NativeEncoding : Encoding
    {
        public override byte[] GetPreamble() => [];

        public override int GetByteCount(char[] chars, int index, int count) => Encode(new string(chars, index, count)).Length;

        public override int GetBytes(char[] chars, int charIndex, int charCount, byte[] bytes, int byteIndex)
            => Encode(chars.AsSpan(charIndex, charCount), bytes.AsSpan(byteIndex));

        public override int GetCharCount(byte[] bytes, int index, int count) => Decode(bytes.AsSpan(index, count)).Length;

        public override int GetChars(byte[] bytes, int byteIndex, int byteCount, char[] chars, int charIndex)
        {
            string text = Decode(bytes.AsSpan(byteIndex, byteCount));
            text.CopyTo(chars.AsSpan(charIndex));
            return text.Length;
        }

        public override int GetMaxByteCount(int charCount) => UTF8.GetMaxByteCount(charCount + 1);

        public override int GetMaxCharCount(int byteCount) => byteCount;

        public override Encoder GetEncoder() => new NativeEncoder();
    }

    // Keeps the first half of a character that came at the end of a piece.
    private sealed class NativeEncoder : Encoder
    {
        private char _half;

        public override int GetByteCount(char[] chars, int index, int count, bool flush)
            => (count + 1) * 3; // an upper bound, which is what writers ask for

        public override int GetBytes(char[] chars, int charIndex, int charCount, byte[] bytes, int byteIndex, bool flush)
            => GetBytes(chars.AsSpan(charIndex, charCount), bytes.AsSpan(byteIndex), flush);

        public override int GetBytes(ReadOnlySpan<char> chars, Span<byte> bytes, bool flush)
        {
            if (_half == '\0' && !chars.ContainsAnyInRange('\uD800', '\uDFFF'))
            {
                return Encoding.UTF8.GetBytes(chars, bytes);
            }

            int written = 0;
            if (_half != '\0' && !chars.IsEmpty)
            {
                bool isPair = char.IsLowSurrogate(chars[0]);
                written = Encode(isPair ? [_half, chars[0]] : [_half], bytes);
                chars = isPair ? chars[1..] : chars;
                _half = '\0';
            }

            if (!flush && !chars.IsEmpty && char.IsHighSurrogate(chars[^1]))
            {
                _half = chars[^1];
                chars = chars[..^1];
            }

            return written + Encode(chars, bytes[written..]);
        }
    }
}
