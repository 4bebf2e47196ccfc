using System.Globalization;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Ingot.Tests.Drivers.Qcow2.Fuzz;
using Xunit;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>The corpus of corrupt images: tests/data/qcow2/corrupt.txt makes each from a good one and says what the error must name.</summary>
public class Qcow2CorpusTests
{
    private const int Cluster = 4096;

    public static TheoryData<string, string, string, string> Corpus
    {
        get
        {
            var rows = new TheoryData<string, string, string, string>();
            foreach (string line in System.IO.File.ReadLines(Path.Combine(AppContext.BaseDirectory, "data", "qcow2", "corrupt.txt")))
            {
                if (line.Length > 0 && line[0] != '#')
                {
                    string[] columns = [.. line.Split('|', 4).Select(column => column.Trim())];
                    rows.Add(columns[0], columns[1], columns[2], columns[3]);
                }
            }

            return rows;
        }
    }

    [Theory]
    [MemberData(nameof(Corpus))]
    public void Defects_are_named(string name, string edits, string action, string message) => Loop.Run(async () =>
    {
        byte[] bytes = await MakeGoodAsync();
        foreach (string edit in edits.Split(';', StringSplitOptions.TrimEntries))
        {
            bytes = Apply(bytes, edit);
        }

        string said = await RunAsync(new MemoryDisk(bytes), action);
        Assert.True(said.Contains(message, StringComparison.Ordinal), $"{name}: {said}");

        // Whoever opens an image puts its name before what it says.
        Assert.True(action is "check" or "open" || said.Contains("'memory-disk'", StringComparison.Ordinal), $"{name} does not name the file: {said}");
    });

    private static async IoTask<byte[]> MakeGoodAsync()
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20, ("cluster_size", "4k"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(2 * Cluster, 1));
        await Qcow2Fixture.WriteAsync(node, 4 * Cluster, new byte[Cluster], WriteFlags.Compressed);
        await node.CloseAsync();
        byte[] bytes = disk.Snapshot();
        Array.Resize(ref bytes, ((bytes.Length + Cluster - 1) & -Cluster) + Cluster);
        return bytes;
    }

    private static byte[] Apply(byte[] bytes, string edit)
    {
        string[] sides = edit.Split('=');
        string place = sides[0];
        if (place == "cut")
        {
            return bytes[..(int)Value(bytes, sides[1])];
        }

        (int offset, int width) = PlaceOf(bytes, place);
        FuzzImage.Write(bytes, offset, width, Value(bytes, sides[1]));
        return bytes;
    }

    private static int L1(byte[] bytes) => (int)FuzzImage.Read(bytes, 40, 8);

    private static int L2(byte[] bytes) => (int)(FuzzImage.Read(bytes, L1(bytes), 8) & OffsetMask);

    private static int Table(byte[] bytes) => (int)FuzzImage.Read(bytes, 48, 8);

    private static (int Offset, int Width) PlaceOf(byte[] bytes, string place)
    {
        string[] parts = place.Split('[', ']', '+', ':');
        int number = int.Parse(parts[1], CultureInfo.InvariantCulture);
        return parts[0] switch
        {
            "header" => (number, int.Parse(parts[2], CultureInfo.InvariantCulture)),
            "snapshot" => (bytes.Length - Cluster + number, int.Parse(parts[2], CultureInfo.InvariantCulture)),
            "l1" => (L1(bytes) + (number * 8), 8),
            "l2" => (L2(bytes) + (number * 8), 8),
            "table" => (Table(bytes) + (number * 8), 8),
            "count" => ((int)FuzzImage.Read(bytes, Table(bytes), 8) + (number * 2), 2),
            _ => throw new FormatException($"unknown place {place}"),
        };
    }

    private static ulong Value(byte[] bytes, string text) => text switch
    {
        "L1" => (ulong)(uint)L1(bytes) | CopiedFlag,
        "L2" => (ulong)(uint)L2(bytes) | CopiedFlag,
        "SNAP" => (ulong)bytes.Length - Cluster,
        _ when text.StartsWith("0x", StringComparison.Ordinal) => ulong.Parse(text.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture),
        _ => ulong.Parse(text, CultureInfo.InvariantCulture),
    };

    private static async IoTask<string> RunAsync(MemoryDisk disk, string action)
    {
        var said = new List<string>();
        try
        {
            Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, flags: action switch { "write" => OpenFlags.ReadWrite, "check" => OpenFlags.Check, _ => OpenFlags.None });
            switch (action)
            {
                case "read" or "read4":
                    await Qcow2Fixture.ReadAsync(node, action == "read" ? 0 : 4 * Cluster, 100);
                    break;
                case "write":
                    await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(100, 1));
                    await Qcow2Fixture.WriteAsync(node, 512 << 10, Qcow2Fixture.Pattern(100, 1));
                    break;
                case "check":
                    await node.CheckAsync(report: said.Add);
                    break;
            }
        }
        catch (ErrnoException e)
        {
            said.Add(e.Message);
        }

        return said.Count == 0 ? "nothing" : string.Join('\n', said);
    }
}
