using System.Globalization;
using System.Text;

namespace Ingot.Cli;

/// <summary>How the io tool prints sizes, times and bytes: scripts take these lines apart.</summary>
internal static class IoReport
{
    /// <summary>The line or lines after a transfer.</summary>
    public static string Transfer(string did, long offset, long length, TimeSpan time, bool isMachineReadable)
    {
        double seconds = Math.Max(time.TotalSeconds, 1e-9);
        return isMachineReadable
            ? string.Create(CultureInfo.InvariantCulture, $"{length},1,{Long(time)},{length / seconds:F3},{1 / seconds:F3}")
            : string.Create(
                CultureInfo.InvariantCulture,
                $"{did} {length}/{length} bytes at offset {offset}\n{Size(length)}, 1 ops; {Time(time)} ({Size(length / seconds)}/sec and {1 / seconds:F4} ops/sec)");
    }

    /// <summary>Up to three decimals; `info` has three significant digits instead.</summary>
    public static string Size(double bytes)
    {
        string[] units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        int unit = 0;
        while (bytes >= 1024 && unit < units.Length - 1)
        {
            bytes /= 1024;
            unit++;
        }

        string number = bytes.ToString(unit == 0 ? "F6" : "F3", CultureInfo.InvariantCulture);
        int zeroes = number.IndexOf(".000", StringComparison.Ordinal);
        return $"{(zeroes >= 0 ? number[..zeroes] : number)} {units[unit]}";
    }

    /// <summary>Bytes in hexadecimal and as text, 16 a line.</summary>
    public static string Dump(ReadOnlySpan<byte> data, long offset)
    {
        var text = new StringBuilder();
        for (int at = 0; at < data.Length; at += 16)
        {
            ReadOnlySpan<byte> line = data.Slice(at, Math.Min(16, data.Length - at));
            text.Append(CultureInfo.InvariantCulture, $"{offset + at:x8}:  ");
            foreach (byte b in line)
            {
                text.Append(CultureInfo.InvariantCulture, $"{b:x2} ");
            }

            text.Append(' ');
            foreach (byte b in line)
            {
                text.Append(char.IsAsciiLetterOrDigit((char)b) ? (char)b : '.');
            }

            text.Append('\n');
        }

        return text.ToString();
    }

    private static string Time(TimeSpan time) => time.TotalSeconds >= 1 ? Long(time) : string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:00.00} sec");

    private static string Long(TimeSpan time)
        => string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalHours}:{time.Minutes:d2}:{time.TotalSeconds % 60:00.00}");
}
