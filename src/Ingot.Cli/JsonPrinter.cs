using System.Text;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>Prints JSON in the layout of QEMU's tools: four spaces, and a line break even in what is empty, which Utf8JsonWriter can't do.</summary>
/// <param name="o">Where to print.</param>
internal sealed class JsonPrinter(TextWriter o)
{
    private int _depth;
    private bool _first = true;
    private bool _named;

    public void BeginObject() => Begin('{');

    public void EndObject() => End('}');

    public void BeginArray() => Begin('[');

    public void EndArray() => End(']');

    /// <summary>Names the member that comes next.</summary>
    /// <param name="name">The name.</param>
    public void Name(string name)
    {
        Separate();
        o.Write($"{Quote(name)}: ");
        _named = true;
    }

    /// <summary>A value.</summary>
    /// <param name="value">A string, a bool, or a number.</param>
    public void Value(object value)
    {
        Separate();
        o.Write(value switch
        {
            string s => Quote(s),
            bool b => b ? "true" : "false",
            _ => value.ToString(),
        });
    }

    public void Member(string name, object value)
    {
        Name(name);
        Value(value);
    }

    /// <summary>A JSON string with its quotes; what is not ASCII is escaped.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The string.</returns>
    public static string Quote(string text)
    {
        var quoted = new StringBuilder("\"", text.Length + 2);
        foreach (char c in NativeText.ToValid(text))
        {
            quoted.Append(c switch
            {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\b' => "\\b",
                '\f' => "\\f",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                < ' ' or > '~' => $"\\u{(int)c:X4}",
                _ => c.ToString(),
            });
        }

        return quoted.Append('"').ToString();
    }

    private void Begin(char bracket)
    {
        Separate();
        o.Write(bracket);
        _depth++;
        _first = true;
    }

    private void End(char bracket)
    {
        _depth--;
        NewLine();
        o.Write(bracket);
        _first = false;
        if (_depth == 0)
        {
            o.WriteLine();
        }
    }

    private void Separate()
    {
        if (_named || _depth == 0)
        {
            _named = false;
            return;
        }

        if (!_first)
        {
            o.Write(',');
        }

        _first = false;
        NewLine();
    }

    private void NewLine()
    {
        o.WriteLine();
        for (int i = 0; i < _depth; i++)
        {
            o.Write("    ");
        }
    }
}
