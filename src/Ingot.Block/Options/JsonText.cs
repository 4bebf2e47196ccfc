using System.Text.Json;

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
        try
        {
            using var document = JsonDocument.Parse(json);
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? ToSet(document.RootElement)
                : throw new OptionException($"{what}: expected a JSON object, got {document.RootElement.ValueKind}");
        }
        catch (JsonException e)
        {
            throw new OptionException($"{what}: invalid JSON at byte {e.BytePositionInLine}: {e.Message}");
        }
    }

    private static OptionSet ToSet(JsonElement element)
    {
        var set = new OptionSet();
        foreach (JsonProperty member in element.EnumerateObject())
        {
            switch (ToValue(member.Value))
            {
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
