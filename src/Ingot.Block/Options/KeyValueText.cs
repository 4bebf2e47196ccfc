namespace Ingot.Block;

/// <summary>The grammar of option arguments: <c>a.b=c,d=e</c>, with a doubled comma for a comma.</summary>
public static class KeyValueText
{
    /// <summary>Reads an option argument.</summary>
    /// <param name="text">The argument.</param>
    /// <param name="implicitName">The name of a first value that has none: "driver" in <c>null-co,size=1G</c>; null when there is no such rule.</param>
    /// <returns>The options.</returns>
    /// <exception cref="OptionException">A part has no name or no value.</exception>
    public static OptionSet Parse(string text, string? implicitName = null)
    {
        var options = new OptionSet();
        bool first = true;
        foreach (string part in Split(text))
        {
            int equals = part.IndexOf('=');
            if (equals > 0)
            {
                options.Set(part[..equals], part[(equals + 1)..]);
            }
            else if (first && implicitName is not null && equals < 0)
            {
                options.Set(implicitName, part);
            }
            else
            {
                throw new OptionException(equals == 0 ? $"Parameter without a name in '{text}'" : $"Expected '=' after parameter '{part}'");
            }

            first = false;
        }

        return options;
    }

    /// <summary>Splits at single commas and undoubles the others.</summary>
    /// <param name="text">The argument.</param>
    /// <returns>The parts; empty ones are left out.</returns>
    public static IEnumerable<string> Split(string text)
    {
        var part = new System.Text.StringBuilder();
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != ',')
            {
                part.Append(text[i]);
            }
            else if (i + 1 < text.Length && text[i + 1] == ',')
            {
                part.Append(',');
                i++;
            }
            else
            {
                if (part.Length > 0)
                {
                    yield return part.ToString();
                }

                part.Clear();
            }
        }

        if (part.Length > 0)
        {
            yield return part.ToString();
        }
    }
}
