using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Ingot.Linux;

namespace Ingot.Block;

/// <summary>Options written as JSON: json: names and option arguments that start with a brace.</summary>
public static class JsonText
{
    /// <summary>Reads a JSON object.</summary>
    /// <param name="json">The text.</param>
    /// <param name="what">Whose text it is, for the message.</param>
    /// <returns>The options; dotted names are nested.</returns>
    /// <exception cref="OptionException">It is no JSON object.</exception>
    public static OptionSet Parse(string json, string what)
    {
        if (NativeText.HasEscapes(json))
        {
            throw new OptionException($"{what}: invalid UTF-8");
        }

        try
        {
            using var document = JsonDocument.Parse(WithDoubleQuotes(json));
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? ToSet(document.RootElement)
                : throw new OptionException($"{what}: expected a JSON object, got {document.RootElement.ValueKind}");
        }
        catch (JsonException e)
        {
            // The exception's own text is left out of native binaries.
            throw new OptionException($"{what}: invalid JSON in line {e.LineNumber + 1} at byte {e.BytePositionInLine + 1}");
        }
        catch (InvalidOperationException)
        {
            // A name can come from an image that somebody else made, so that nothing in it may end the program.
            throw new OptionException($"{what}: a string has half a surrogate pair, which is no text");
        }
    }

    /// <summary>A string with its quotes.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The JSON.</returns>
    public static string Quote(string text) => $"\"{JsonEncodedText.Encode(NativeText.ToValid(text), JavaScriptEncoder.UnsafeRelaxedJsonEscaping)}\"";

    /// <summary>What opens a node again, as a member of a json: name.</summary>
    /// <param name="node">The node.</param>
    /// <returns>The JSON object.</returns>
    public static string Describe(BlockNode node)
        => node.FileName.StartsWith("json:", StringComparison.Ordinal) ? node.FileName[5..]
            : node.File is { } file && node.FileName == file.FileName ? $"{{\"driver\": {Quote(node.DriverName)}, \"file\": {Describe(file)}}}"
            : $"{{\"driver\": {Quote(node.DriverName)}, \"filename\": {Quote(node.FileName)}}}";

    // QEMU takes strings in single quotes as well, which is what people write in a shell.
    private static string WithDoubleQuotes(string json)
    {
        if (!json.Contains('\''))
        {
            return json;
        }

        var text = new StringBuilder(json.Length);
        char quote = '\0';
        for (int i = 0; i < json.Length; i++)
        {
            char c = json[i];
            if (quote != '\0' && c == '\\' && i + 1 < json.Length)
            {
                char escaped = json[++i];
                text.Append(escaped == '\'' ? "'" : $"\\{escaped}");
            }
            else if (quote == '\0' && c is '"' or '\'')
            {
                quote = c;
                text.Append('"');
            }
            else if (c == quote)
            {
                quote = '\0';
                text.Append('"');
            }
            else
            {
                text.Append(quote == '\'' && c == '"' ? "\\\"" : c.ToString());
            }
        }

        return text.ToString();
    }

    private static OptionSet ToSet(JsonElement element)
    {
        var set = new OptionSet();
        foreach (JsonProperty member in element.EnumerateObject())
        {
            switch (ToValue(member.Value))
            {
                case null when member.Name == "backing" || member.Name.EndsWith(".backing", StringComparison.Ordinal):
                    set.Set(member.Name, ""); // none, whatever the image says
                    break;
                case null:
                    break;
                case OptionSet nested:
                    set.Set(member.Name, nested);
                    break;
                case List<object> list:
                    set.Set(member.Name, list);
                    break;
                case object value:
                    set.Set(member.Name, (string)value);
                    break;
            }
        }

        return set;
    }

    private static object? ToValue(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => ToSet(value),
        JsonValueKind.Array => value.EnumerateArray().Select(ToValue).OfType<object>().ToList(),
        JsonValueKind.String => value.GetString(),
        JsonValueKind.True => "on",
        JsonValueKind.False => "off",
        JsonValueKind.Null => null,
        _ => value.GetRawText(),
    };
}
