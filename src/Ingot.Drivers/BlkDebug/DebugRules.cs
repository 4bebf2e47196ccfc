using System.Text;
using Ingot.Block;
using Ingot.Linux;

namespace Ingot.Drivers.BlkDebug;

/// <summary>The rules of one node, its state, and the errors that are being injected.</summary>
internal sealed class DebugRules
{
    private const int MaxConfigLength = 1 << 20;

    private readonly List<DebugRule> _rules;
    private readonly List<DebugRule> _active;
    private long _state = 1;

    internal DebugRules(List<DebugRule> rules)
    {
        _rules = rules;
        _active = [.. rules.Where(r => r.Event == "none" && r.NewState is null)];
    }

    /// <summary>Takes the rules of the options and of a configuration file.</summary>
    /// <param name="options">With inject-error and set-state.</param>
    /// <param name="config">The file's name; null or empty for none.</param>
    /// <returns>The rules.</returns>
    internal static DebugRules Take(OptionSet options, string? config)
    {
        var rules = new List<DebugRule>();
        foreach ((string section, OptionSet rule) in string.IsNullOrEmpty(config) ? [] : ReadConfig(config))
        {
            rules.Add(Finish(rule, section));
        }

        foreach (string section in (string[])["inject-error", "set-state"])
        {
            foreach (object rule in TakeRules(options, section))
            {
                rules.Add(Finish(rule as OptionSet ?? throw new OptionException($"Invalid parameter type for '{section}', expected: object"), section));
            }
        }

        return new DebugRules(rules);
    }

    /// <summary>Something is about to happen; what rules say for it holds from now on.</summary>
    /// <param name="eventName">The event.</param>
    internal void Signal(string eventName)
    {
        long state = _state;
        bool isFirst = true;
        foreach (DebugRule rule in _rules)
        {
            if (rule.Event != eventName || (rule.State != 0 && rule.State != state))
            {
                continue;
            }

            if (rule.NewState is { } next)
            {
                _state = next;
                continue;
            }

            if (isFirst)
            {
                _active.Clear();
                isFirst = false;
            }

            _active.Insert(0, rule);
        }
    }

    /// <summary>The error that a request gets.</summary>
    /// <param name="request">Its kind.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The error, or none.</returns>
    internal Errno ErrorOf(DebugRequests request, long offset, long length)
    {
        if (_active.Find(r => r.Hits(request, offset, length)) is not { } rule)
        {
            return Errno.None;
        }

        if (rule.IsOnce)
        {
            _active.Remove(rule);
            _rules.Remove(rule);
        }

        return rule.Errno;
    }

    // A single rule need not be in a list.
    private static IReadOnlyList<object> TakeRules(OptionSet options, string section)
    {
        OptionSet rest = options.Clone();
        if (rest.TakeReference(section) is not OptionSet single || !single.Has("event"))
        {
            return options.TakeList(section);
        }

        options.TakeSet(section);
        return [single];
    }

    private static DebugRule Finish(OptionSet options, string section)
    {
        DebugRule rule = DebugRule.Take(options, section == "set-state");
        options.RefuseRest($"'{section}'");
        return rule;
    }

    // Sections in brackets, then lines such as: event = "read_aio"
    private static List<(string Section, OptionSet Rule)> ReadConfig(string path)
    {
        byte[] content;
        try
        {
            content = WholeFile.Read(path, MaxConfigLength + 1);
        }
        catch (FileReadException e)
        {
            throw ErrnoException.For(e.Errno, e.IsOpen ? "Cannot read config file" : "Could not read blkdebug config file");
        }

        if (content.Length > MaxConfigLength)
        {
            throw new OptionException($"Could not parse blkdebug config file '{path}': larger than {MaxConfigLength} bytes");
        }

        var sections = new List<(string Section, OptionSet Rule)>();
        foreach (string line in Encoding.UTF8.GetString(content).Split('\n').Select(l => l.Trim()).Where(l => l.Length > 0 && l[0] != '#'))
        {
            int equals = line.IndexOf('=');
            if (line is "[inject-error]" or "[set-state]")
            {
                sections.Add((line[1..^1], new OptionSet()));
            }
            else if (equals > 0 && sections.Count > 0)
            {
                sections[^1].Rule.Set(line[..equals].Trim(), line[(equals + 1)..].Trim().Trim('"'));
            }
            else
            {
                throw new OptionException($"Could not parse blkdebug config file '{path}': {line}");
            }
        }

        return sections;
    }
}
