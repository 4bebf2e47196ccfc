using System.Globalization;
using Ingot.Block;

namespace Ingot.Cli;

/// <summary>Prints facts for people.</summary>
internal static class InfoPrinter
{
    public static void Print(TextWriter o, NodeFacts facts) => Print(o, facts, "", "", isLeaf: false);

    private static void Print(TextWriter o, NodeFacts facts, string indent, string path, bool isLeaf)
    {
        ImageInfo info = facts.Info;
        string disk = facts.ActualSize is { } size ? SizeText.ToHuman(size) : "unavailable";
        o.WriteLine($"{indent}{(isLeaf ? "filename" : "image")}: {facts.FileName}");
        o.WriteLine($"{indent}{(isLeaf ? "protocol type" : "file format")}: {facts.Driver}");
        o.WriteLine($"{indent}{(isLeaf ? "file length" : "virtual size")}: {SizeText.ToHuman(facts.Length)} ({facts.Length} bytes)");
        o.WriteLine($"{indent}disk size: {disk}");
        WriteIf(o, info.IsEncrypted, $"{indent}encrypted: yes");
        WriteIf(o, info.ClusterSize is not null, $"{indent}cluster_size: {info.ClusterSize}");
        WriteIf(o, info.IsDirty, $"{indent}cleanly shut down: no");
        PrintBacking(o, info, indent);
        PrintSnapshots(o, info.Snapshots, indent);
        PrintSpecific(o, facts.Specific, indent);
        foreach ((string role, NodeFacts child) in facts.Children)
        {
            string childPath = $"{path}/{role}";
            o.WriteLine($"{indent}Child node '{childPath}':");
            Print(o, child, indent + "    ", childPath, isLeaf: child.Children.Count == 0);
        }
    }

    private static void PrintBacking(TextWriter o, ImageInfo info, string indent)
    {
        if (info.BackingFileName is not { } name)
        {
            return;
        }

        string actual = info.FullBackingFileName is not { } full ? " (cannot determine actual path)" : full == name ? "" : $" (actual path: {full})";
        o.WriteLine($"{indent}backing file: {name}{actual}");
        WriteIf(o, info.BackingFormat is not null, $"{indent}backing file format: {info.BackingFormat}");
    }

    /// <summary>Prints a table of internal snapshots; nothing when there are none.</summary>
    /// <param name="o">Where to.</param>
    /// <param name="snapshots">The snapshots.</param>
    /// <param name="indent">What lines begin with.</param>
    public static void PrintSnapshots(TextWriter o, IReadOnlyList<SnapshotInfo> snapshots, string indent)
    {
        if (snapshots.Count == 0)
        {
            return;
        }

        o.WriteLine($"{indent}Snapshot list:");
        o.WriteLine($"{indent}{"ID",-7} {"TAG",-16} {"VM_SIZE",8} {"DATE",19} {"VM_CLOCK",15} {"ICOUNT",10}");
        foreach (SnapshotInfo s in snapshots)
        {
            string date = DateTimeOffset.FromUnixTimeSeconds(s.DateSeconds).LocalDateTime.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture);
            long seconds = s.VmClockNanoseconds / 1_000_000_000;
            string clock = $"{seconds / 3600:d4}:{seconds / 60 % 60:d2}:{seconds % 60:d2}.{s.VmClockNanoseconds / 1_000_000 % 1000:d3}";
            o.WriteLine($"{indent}{s.Id,-7} {s.Name,-16} {SizeText.ToHuman(s.VmStateSize),8} {date,19} {clock,15} {s.InstructionCount?.ToString(CultureInfo.InvariantCulture) ?? "--",10}");
        }
    }

    /// <summary>Prints the facts that only one format has.</summary>
    /// <param name="o">Where to.</param>
    /// <param name="specific">The facts, or null.</param>
    /// <param name="indent">What lines begin with.</param>
    public static void PrintSpecific(TextWriter o, IReadOnlyList<(string Key, object Value)>? specific, string indent)
    {
        if (specific is null || specific.Count == 0)
        {
            return;
        }

        o.WriteLine($"{indent}Format specific information:");
        PrintMembers(o, specific, indent + "    ");
    }

    private static void PrintMembers(TextWriter o, IReadOnlyList<(string Key, object Value)> members, string indent)
    {
        foreach ((string key, object value) in members)
        {
            string name = key.Replace('-', ' ');
            switch (value)
            {
                case IReadOnlyList<DirtyBitmapInfo> bitmaps:
                    PrintBitmaps(o, bitmaps, indent);
                    break;
                case IReadOnlyList<(string Key, object Value)> nested:
                    o.WriteLine($"{indent}{name}:");
                    PrintMembers(o, nested, indent + "    ");
                    break;
                case IReadOnlyList<object> items:
                    o.WriteLine($"{indent}{name}:");
                    PrintItems(o, items, indent + "    ");
                    break;
                default:
                    o.WriteLine($"{indent}{name}: {(value is bool b ? (b ? "true" : "false") : Convert.ToString(value, CultureInfo.InvariantCulture))}");
                    break;
            }
        }
    }

    private static void PrintItems(TextWriter o, IReadOnlyList<object> items, string indent)
    {
        for (int i = 0; i < items.Count; i++)
        {
            o.WriteLine($"{indent}[{i}]:");
            PrintMembers(o, (IReadOnlyList<(string Key, object Value)>)items[i], indent + "    ");
        }
    }

    private static void PrintBitmaps(TextWriter o, IReadOnlyList<DirtyBitmapInfo> bitmaps, string indent)
    {
        o.WriteLine($"{indent}bitmaps:");
        for (int i = 0; i < bitmaps.Count; i++)
        {
            o.WriteLine($"{indent}    [{i}]:");
            o.WriteLine($"{indent}        flags:");
            int number = 0;
            foreach (string flag in bitmaps[i].Flags)
            {
                o.WriteLine($"{indent}            [{number++}]: {flag}");
            }

            o.WriteLine($"{indent}        name: {bitmaps[i].Name}");
            o.WriteLine($"{indent}        granularity: {bitmaps[i].Granularity}");
        }
    }

    private static void WriteIf(TextWriter o, bool condition, string line)
    {
        if (condition)
        {
            o.WriteLine(line);
        }
    }
}
