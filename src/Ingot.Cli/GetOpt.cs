namespace Ingot.Cli;

/// <summary>
/// The grammar of getopt_long(3) with its messages: clustered letters, values joined or apart, unique prefixes of long names, options and operands
/// in any order, "--" before operands that start with a dash.
/// </summary>
internal static class GetOpt
{
    public static Arguments Parse(IReadOnlyList<Option> table, IReadOnlyList<string> words)
    {
        var result = new Arguments();
        for (int i = 0; i < words.Count; i++)
        {
            string word = words[i];
            if (word == "--")
            {
                result.Operands.AddRange(words.Skip(i + 1));
                break;
            }

            if (word.StartsWith("--", StringComparison.Ordinal))
            {
                i += ParseLong(table, words, i, result);
            }
            else if (word.Length > 1 && word[0] == '-')
            {
                i += ParseLetters(table, words, i, result);
            }
            else
            {
                result.Operands.Add(word);
            }
        }

        return result;
    }

    // Both return the number of further words taken.
    private static int ParseLong(IReadOnlyList<Option> table, IReadOnlyList<string> words, int at, Arguments result)
    {
        string word = words[at];
        int equals = word.IndexOf('=');
        string name = equals < 0 ? word[2..] : word[2..equals];
        Option option = FindLong(table, name, word[2..]);
        if (option.Argument is null)
        {
            result.Options.Add((option.Long, equals < 0 ? null : throw new GetOptException($"option '--{option.Long}' doesn't allow an argument")));
            return 0;
        }

        if (equals >= 0)
        {
            result.Options.Add((option.Long, word[(equals + 1)..]));
            return 0;
        }

        if (at + 1 == words.Count)
        {
            throw new GetOptException($"option '--{option.Long}' requires an argument");
        }

        result.Options.Add((option.Long, words[at + 1]));
        return 1;
    }

    private static Option FindLong(IReadOnlyList<Option> table, string name, string whole)
    {
        if (table.FirstOrDefault(o => o.LongNames.Contains(name)) is { } exact)
        {
            return exact;
        }

        bool Fits(string known) => known.StartsWith(name, StringComparison.Ordinal);
        Option[] candidates = [.. table.Where(o => o.LongNames.Any(Fits))];
        return candidates.Length switch
        {
            1 => candidates[0],
            0 => throw new GetOptException($"unrecognized option '--{whole}'"),
            _ => throw new GetOptException($"option '--{whole}' is ambiguous; possibilities: {string.Join(' ', candidates.SelectMany(o => o.LongNames).Where(Fits).Select(n => $"'--{n}'"))}"),
        };
    }

    private static int ParseLetters(IReadOnlyList<Option> table, IReadOnlyList<string> words, int at, Arguments result)
    {
        string word = words[at];
        for (int i = 1; i < word.Length; i++)
        {
            Option option = table.FirstOrDefault(o => o.Short == word[i]) ?? throw new GetOptException($"invalid option -- '{word[i]}'");
            if (option.Argument is null)
            {
                result.Options.Add((option.Long, null));
                continue;
            }

            if (i + 1 < word.Length)
            {
                result.Options.Add((option.Long, word[(i + 1)..]));
                return 0;
            }

            if (at + 1 == words.Count)
            {
                throw new GetOptException($"option requires an argument -- '{word[i]}'");
            }

            result.Options.Add((option.Long, words[at + 1]));
            return 1;
        }

        return 0;
    }
}

/// <summary>A command line that does not fit the option table.</summary>
/// <param name="message">In getopt's words.</param>
internal sealed class GetOptException(string message) : Exception(message);
