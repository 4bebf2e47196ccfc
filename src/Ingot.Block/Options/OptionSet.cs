using System.Globalization;

namespace Ingot.Block;

/// <summary>
/// Options on their way from a command line, a json: name or a monitor to what they configure: names with values that are strings, nested sets or lists.
/// Readers take what they know; <see cref="RefuseRest"/> then names what nobody knew, so a typing error never passes silently.
/// </summary>
public sealed class OptionSet
{
    /// <summary>The member that holds the value of a name that is given both a value and members; few options make sense of that.</summary>
    public const string OwnValue = "";

    private readonly Dictionary<string, object> _values = new(StringComparer.Ordinal);
    private readonly string _path;

    /// <summary>Creates an empty set.</summary>
    public OptionSet()
        : this("")
    {
    }

    private OptionSet(string path) => _path = path;

    /// <summary>True when nothing is left.</summary>
    public bool IsEmpty => _values.Count == 0;

    /// <summary>Names that are left, in the order given.</summary>
    public IEnumerable<string> Names => _values.Keys;

    /// <summary>Names of values that are left, with the sets that they are in: "encrypt.format".</summary>
    public IEnumerable<string> DottedNames
        => _values.SelectMany(v => v.Value is OptionSet set ? set.DottedNames.Select(name => $"{v.Key}.{name}") : [v.Key]);

    /// <summary>Sets a value by its dotted name ("file.filename"), making the sets in between.</summary>
    /// <param name="name">The dotted name.</param>
    /// <param name="value">The value; a later one replaces an earlier one.</param>
    /// <exception cref="OptionException">The name of a list is given members.</exception>
    public void Set(string name, string value)
    {
        int dot = name.IndexOf('.');
        if (dot >= 0)
        {
            Nested(name[..dot]).Set(name[(dot + 1)..], value);
        }
        else if (_values.GetValueOrDefault(name) is OptionSet members)
        {
            members._values[OwnValue] = value;
        }
        else
        {
            _values[name] = value;
        }
    }

    /// <summary>Sets a nested set.</summary>
    /// <param name="name">A plain name.</param>
    /// <param name="value">Its members, moved into this set.</param>
    public void Set(string name, OptionSet value)
    {
        var copy = new OptionSet($"{_path}{name}.");
        foreach ((string key, object member) in value._values)
        {
            copy._values[key] = member;
        }

        _values[name] = copy;
    }

    /// <summary>Sets a list.</summary>
    /// <param name="name">A plain name.</param>
    /// <param name="values">Strings or sets.</param>
    public void Set(string name, IReadOnlyList<object> values) => _values[name] = values;

    /// <summary>Whether a name is left.</summary>
    /// <param name="name">A plain name.</param>
    /// <returns>True when it is.</returns>
    public bool Has(string name) => _values.ContainsKey(name);

    /// <summary>The value of a name without taking it; null when absent or not a plain value.</summary>
    /// <param name="name">A plain or dotted name.</param>
    /// <returns>The value.</returns>
    public string? Peek(string name)
    {
        int dot = name.IndexOf('.');
        return dot < 0 ? _values.GetValueOrDefault(name) as string : (_values.GetValueOrDefault(name[..dot]) as OptionSet)?.Peek(name[(dot + 1)..]);
    }

    /// <summary>Takes a text.</summary>
    /// <param name="name">A plain name.</param>
    /// <returns>The text, or null when absent.</returns>
    /// <exception cref="OptionException">It has members.</exception>
    public string? TakeString(string name)
    {
        if (!_values.Remove(name, out object? value))
        {
            return null;
        }

        return value as string ?? throw new OptionException($"Invalid parameter type for '{_path}{name}', expected: string");
    }

    /// <summary>Takes a text that must be there.</summary>
    /// <param name="name">A plain name.</param>
    /// <returns>The text.</returns>
    /// <exception cref="OptionException">It is missing.</exception>
    public string TakeRequired(string name) => TakeString(name) ?? throw new OptionException($"Parameter '{_path}{name}' is missing");

    /// <summary>Takes on/off, yes/no, true/false.</summary>
    /// <param name="name">A plain name.</param>
    /// <returns>The value, or null when absent.</returns>
    /// <exception cref="OptionException">It is something else.</exception>
    public bool? TakeBool(string name) => TakeString(name) switch
    {
        null => null,
        "on" or "yes" or "true" or "y" => true,
        "off" or "no" or "false" or "n" => false,
        _ => throw new OptionException($"Parameter '{_path}{name}' expects 'on' or 'off'"),
    };

    /// <summary>Takes a size such as "64k" or "1.5G", in bytes.</summary>
    /// <param name="name">A plain name.</param>
    /// <returns>Bytes, or null when absent.</returns>
    /// <exception cref="OptionException">It is no size.</exception>
    public long? TakeSize(string name)
    {
        string? text = TakeString(name);
        return text is null ? null
            : SizeText.TryParse(text, out long size) ? size
            : throw new OptionException($"Parameter '{_path}{name}' {SizeText.Expectation}");
    }

    /// <summary>Takes a whole number, decimal or 0x.</summary>
    /// <param name="name">A plain name.</param>
    /// <param name="min">The smallest allowed.</param>
    /// <param name="max">The largest allowed.</param>
    /// <returns>The number, or null when absent.</returns>
    /// <exception cref="OptionException">It is no number or out of range.</exception>
    public long? TakeNumber(string name, long min = long.MinValue, long max = long.MaxValue)
    {
        string? text = TakeString(name);
        if (text is null)
        {
            return null;
        }

        bool ok = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? long.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long value)
            : long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value);
        if (!ok)
        {
            throw new OptionException($"Parameter '{_path}{name}' expects a number");
        }

        return value >= min && value <= max ? value : throw new OptionException($"Parameter '{_path}{name}' must be between {min} and {max}; got {value}");
    }

    /// <summary>Takes one of several words.</summary>
    /// <param name="name">A plain name.</param>
    /// <param name="words">The words allowed.</param>
    /// <returns>The word, or null when absent.</returns>
    /// <exception cref="OptionException">It is another word.</exception>
    public string? TakeWord(string name, params ReadOnlySpan<string> words)
    {
        string? text = TakeString(name);
        return text is null || words.Contains(text) ? text
            : throw new OptionException($"Parameter '{_path}{name}' does not accept value '{text}'");
    }

    /// <summary>Takes a nested set; an absent one is empty.</summary>
    /// <param name="name">A plain name.</param>
    /// <returns>The set.</returns>
    /// <exception cref="OptionException">It is a plain value.</exception>
    public OptionSet TakeSet(string name)
        => !_values.Remove(name, out object? value) ? new OptionSet($"{_path}{name}.")
            : value as OptionSet ?? throw new OptionException($"Invalid parameter type for '{_path}{name}', expected: object");

    /// <summary>Takes what may be a name of something that exists or its options in place.</summary>
    /// <param name="name">A plain name.</param>
    /// <returns>A string, an <see cref="OptionSet"/>, or null when absent.</returns>
    public object? TakeReference(string name) => _values.Remove(name, out object? value) ? value : null;

    /// <summary>Takes a list; a set with members 0, 1, 2... counts as one.</summary>
    /// <param name="name">A plain name.</param>
    /// <returns>Strings and sets; empty when absent.</returns>
    public IReadOnlyList<object> TakeList(string name)
    {
        if (!_values.Remove(name, out object? value))
        {
            return [];
        }

        if (value is OptionSet set)
        {
            var items = new List<object>();
            while (set._values.Remove(items.Count.ToString(CultureInfo.InvariantCulture), out object? item))
            {
                items.Add(item);
            }

            set.RefuseRest($"list '{_path}{name}'");
            return items;
        }

        return value as IReadOnlyList<object> ?? [value];
    }

    /// <summary>A name that nobody took, dotted where it has members; null when nothing is left.</summary>
    /// <returns>The name.</returns>
    public string? FindRest()
        => _values.Where(v => v.Value is not OptionSet { IsEmpty: true })
            .Select(v => $"{_path}{v.Key}{(v.Value is OptionSet set ? $".{set._values.Keys.First()}" : "")}").FirstOrDefault();

    /// <summary>Refuses what nobody took.</summary>
    /// <param name="what">Whose options these are, for the message: "driver 'qcow2'".</param>
    /// <exception cref="OptionException">Something is left.</exception>
    public void RefuseRest(string what)
    {
        if (_values.ContainsKey(OwnValue))
        {
            throw new OptionException($"Parameter '{_path.TrimEnd('.')}' is given both as a value and with members");
        }

        if (FindRest() is { } name)
        {
            throw new OptionException($"Invalid parameter '{name}' for {what}");
        }
    }

    /// <summary>A deep copy.</summary>
    /// <returns>The copy.</returns>
    public OptionSet Clone()
    {
        var copy = new OptionSet(_path);
        foreach ((string name, object value) in _values)
        {
            copy._values[name] = value is OptionSet set ? set.Clone() : value;
        }

        return copy;
    }

    /// <summary>Adds the members of another set, which replace those of the same name.</summary>
    /// <param name="other">The other set; stays as it is.</param>
    public void Merge(OptionSet other)
    {
        foreach ((string name, object value) in other._values)
        {
            if (value is OptionSet theirs && _values.GetValueOrDefault(name) is OptionSet mine)
            {
                mine.Merge(theirs);
            }
            else if (value is OptionSet set)
            {
                Set(name, set.Clone());
            }
            else
            {
                _values[name] = value;
            }
        }
    }

    private OptionSet Nested(string name)
    {
        object? value = _values.GetValueOrDefault(name);
        if (value is null or string)
        {
            var members = new OptionSet($"{_path}{name}.");
            if (value is not null)
            {
                members._values[OwnValue] = value;
            }

            _values[name] = members;
            return members;
        }

        return value as OptionSet ?? throw new OptionException($"Parameter '{_path}{name}' is given both as a value and with members");
    }
}
