using Ingot.Block;

namespace Ingot.Drivers.Filters;

/// <summary>File names of nodes that no plain name can open again: "json:" with their options, in QEMU's order and spelling.</summary>
internal static class JsonName
{
    /// <summary>The name of a node with options of its own.</summary>
    /// <param name="members">Names, and what is behind their colons: see <see cref="JsonText"/>. Null leaves a member out.</param>
    /// <returns>The name.</returns>
    internal static string Of(params ReadOnlySpan<(string Name, string? Json)> members)
    {
        var parts = new List<string>();
        foreach ((string name, string? json) in members)
        {
            if (json is not null)
            {
                parts.Add($"\"{name}\": {json}");
            }
        }

        return $"json:{{{string.Join(", ", parts)}}}";
    }

    /// <summary>A list of nodes.</summary>
    internal static string List(IEnumerable<BlockNode> nodes) => $"[{string.Join(", ", nodes.Select(JsonText.Describe))}]";
}
