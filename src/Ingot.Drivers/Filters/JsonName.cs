using System.Text.Encodings.Web;
using System.Text.Json;
using Ingot.Block;

namespace Ingot.Drivers.Filters;

/// <summary>File names of nodes that no plain name can open again: "json:" with their options, in QEMU's order and spelling.</summary>
internal static class JsonName
{
    /// <summary>The name of a node with options of its own.</summary>
    /// <param name="members">Names, and what is behind their colons: see <see cref="Text"/> and <see cref="Describe"/>. Null leaves a member out.</param>
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

    /// <summary>A text in quotes.</summary>
    internal static string Text(string text) => $"\"{JsonEncodedText.Encode(text, JavaScriptEncoder.UnsafeRelaxedJsonEscaping)}\"";

    /// <summary>The options that open a node again, without those that do not change what it reads as.</summary>
    internal static string Describe(BlockNode node)
    {
        if (node.FileName.StartsWith("json:", StringComparison.Ordinal))
        {
            return node.FileName["json:".Length..];
        }

        return DriverTable.Find(node.DriverName) is { IsProtocol: false } && node.File is { } file
            ? $"{{\"driver\": {Text(node.DriverName)}, \"file\": {Describe(file)}}}"
            : $"{{\"driver\": {Text(node.DriverName)}, \"filename\": {Text(node.FileName)}}}";
    }

    /// <summary>A list of nodes.</summary>
    internal static string List(IEnumerable<BlockNode> nodes) => $"[{string.Join(", ", nodes.Select(Describe))}]";
}
