using System.Text;

namespace Ingot.Drivers.Qcow2;

/// <summary>The feature name table: what images say of feature bits, for programs that do not know them.</summary>
internal static class FeatureNames
{
    private const int EntryLength = 48;

    private static readonly (byte Kind, byte Bit, string Name)[] Known =
    [
        (0, 0, "dirty bit"),
        (0, 1, "corrupt bit"),
        (0, 2, "external data file"),
        (0, 3, "compression type"),
        (0, 4, "extended L2 entries"),
        (1, 0, "lazy refcounts"),
        (2, 0, "bitmaps"),
        (2, 1, "raw external data"),
    ];

    /// <summary>The table that new images get.</summary>
    internal static byte[] Build()
    {
        var table = new byte[Known.Length * EntryLength];
        for (int i = 0; i < Known.Length; i++)
        {
            table[i * EntryLength] = Known[i].Kind;
            table[(i * EntryLength) + 1] = Known[i].Bit;
            Encoding.ASCII.GetBytes(Known[i].Name, table.AsSpan((i * EntryLength) + 2));
        }

        return table;
    }

    /// <summary>Names incompatible features: by the image's own table, else by what is known here, else by number.</summary>
    internal static string Describe(Qcow2Header header, ulong bits)
    {
        var names = new List<string>();
        byte[] table = header.Extensions.LastOrDefault(e => e.Type == Qcow2Constants.ExtensionFeatureNames)?.Data ?? [];
        for (int i = 0; i + 2 < table.Length; i += EntryLength)
        {
            if (table[i] == 0 && table[i + 1] < 64 && (bits & (1UL << table[i + 1])) != 0)
            {
                names.Add(Encoding.UTF8.GetString(table, i + 2, Math.Min(EntryLength, table.Length - i) - 2).Split('\0')[0]);
                bits &= ~(1UL << table[i + 1]);
            }
        }

        foreach ((byte kind, byte bit, string name) in Known)
        {
            if (kind == 0 && (bits & (1UL << bit)) != 0)
            {
                names.Add(name);
                bits &= ~(1UL << bit);
            }
        }

        if (bits != 0)
        {
            names.Add($"Unknown incompatible feature: {bits:x}");
        }

        return string.Join(", ", names);
    }
}
