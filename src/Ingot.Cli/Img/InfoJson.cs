using Ingot.Block;

namespace Ingot.Cli;

/// <summary>Prints facts as JSON, with the keys and in the order of QEMU's tools.</summary>
internal static class InfoJson
{
    public static void Print(JsonPrinter json, NodeFacts facts)
    {
        ImageInfo info = facts.Info;
        json.BeginObject();
        PrintChildren(json, facts.Children);
        Optional(json, "backing-filename-format", info.BackingFormat);
        PrintSnapshots(json, info.Snapshots);
        json.Member("virtual-size", facts.Length);
        json.Member("filename", facts.FileName);
        Optional(json, "cluster-size", info.ClusterSize);
        json.Member("format", facts.Driver);
        Optional(json, "actual-size", facts.ActualSize);
        PrintSpecific(json, facts);
        Optional(json, "full-backing-filename", info.FullBackingFileName);
        Optional(json, "encrypted", info.IsEncrypted ? true : null);
        Optional(json, "backing-filename", info.BackingFileName);
        Optional(json, "dirty-flag", facts.HasDirtyFlag ? info.IsDirty : null);
        json.EndObject();
    }

    private static void PrintChildren(JsonPrinter json, IReadOnlyList<(string Role, NodeFacts Facts)> children)
    {
        json.Name("children");
        json.BeginArray();
        foreach ((string role, NodeFacts child) in children)
        {
            json.BeginObject();
            json.Member("name", role);
            json.Name("info");
            Print(json, child);
            json.EndObject();
        }

        json.EndArray();
    }

    private static void PrintSnapshots(JsonPrinter json, IReadOnlyList<SnapshotInfo> snapshots)
    {
        if (snapshots.Count == 0)
        {
            return;
        }

        json.Name("snapshots");
        json.BeginArray();
        foreach (SnapshotInfo s in snapshots)
        {
            json.BeginObject();
            Optional(json, "icount", s.InstructionCount);
            json.Member("vm-clock-nsec", s.VmClockNanoseconds % 1_000_000_000);
            json.Member("name", s.Name);
            json.Member("date-sec", s.DateSeconds);
            json.Member("date-nsec", s.DateNanoseconds);
            json.Member("vm-clock-sec", s.VmClockNanoseconds / 1_000_000_000);
            json.Member("id", s.Id);
            json.Member("vm-state-size", s.VmStateSize);
            json.EndObject();
        }

        json.EndArray();
    }

    private static void PrintSpecific(JsonPrinter json, NodeFacts facts)
    {
        if (facts.Specific is not { } specific)
        {
            return;
        }

        json.Name("format-specific");
        json.BeginObject();
        json.Member("type", facts.SpecificType);
        json.Name("data");
        PrintValue(json, specific);
        json.EndObject();
    }

    private static void PrintValue(JsonPrinter json, object value)
    {
        switch (value)
        {
            case IReadOnlyList<DirtyBitmapInfo> bitmaps:
                PrintBitmaps(json, bitmaps);
                break;
            case IReadOnlyList<(string Key, object Value)> members:
                json.BeginObject();
                foreach ((string key, object member) in members)
                {
                    json.Name(key);
                    PrintValue(json, member);
                }

                json.EndObject();
                break;
            case IReadOnlyList<object> items:
                json.BeginArray();
                foreach (object item in items)
                {
                    PrintValue(json, item);
                }

                json.EndArray();
                break;
            default:
                json.Value(value);
                break;
        }
    }

    private static void PrintBitmaps(JsonPrinter json, IReadOnlyList<DirtyBitmapInfo> bitmaps)
    {
        json.BeginArray();
        foreach (DirtyBitmapInfo bitmap in bitmaps)
        {
            json.BeginObject();
            json.Name("flags");
            json.BeginArray();
            foreach (string flag in bitmap.Flags)
            {
                json.Value(flag);
            }

            json.EndArray();
            json.Member("name", bitmap.Name);
            json.Member("granularity", bitmap.Granularity);
            json.EndObject();
        }

        json.EndArray();
    }

    private static void Optional(JsonPrinter json, string name, object? value)
    {
        if (value is not null)
        {
            json.Member(name, value);
        }
    }
}
