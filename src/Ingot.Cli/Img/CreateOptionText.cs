using System.Globalization;
using Ingot.Block;
using Ingot.Drivers;

namespace Ingot.Cli;

/// <summary>Creation options (-o) as text: read, listed by -o help, and shown by `create` with their defaults.</summary>
internal static class CreateOptionText
{
    // In the order in which `create` shows them; with the type that -o help names, and the default of qcow2.
    private static readonly (string Name, string Type, string? Default)[] Known =
    [
        ("encryption", "bool (on/off)", null),
        ("encrypt.format", "str", null),
        ("encrypt.key-secret", "str", null),
        ("encrypt.cipher-alg", "str", null),
        ("encrypt.cipher-mode", "str", null),
        ("encrypt.ivgen-alg", "str", null),
        ("encrypt.ivgen-hash-alg", "str", null),
        ("encrypt.hash-alg", "str", null),
        ("encrypt.iter-time", "num", null),
        ("encrypt.keyslot", "num", null),
        ("key-secret", "str", null),
        ("cipher-alg", "str", null),
        ("cipher-mode", "str", null),
        ("ivgen-alg", "str", null),
        ("ivgen-hash-alg", "str", null),
        ("hash-alg", "str", null),
        ("iter-time", "num", null),
        ("keyslot", "num", null),
        ("detached-header", "bool (on/off)", null),
        ("cluster_size", "size", "65536"),
        ("extended_l2", "bool (on/off)", "off"),
        ("preallocation", "str", null),
        ("compression_type", "str", "zlib"),
        ("size", "size", null),
        ("compat", "str", null),
        ("backing_file", "str", null),
        ("backing_fmt", "str", null),
        ("data_file", "str", null),
        ("data_file_raw", "bool (on/off)", null),
        ("lazy_refcounts", "bool (on/off)", "off"),
        ("refcount_bits", "num", "16"),
        ("nocow", "bool (on/off)", null),
        ("extent_size_hint", "size", null),
    ];

    /// <summary>Whether one of the -o arguments only asks for help.</summary>
    /// <param name="texts">The -o arguments.</param>
    /// <returns>True when one does.</returns>
    public static bool AsksForHelp(IEnumerable<string> texts) => texts.SelectMany(KeyValueText.Split).Any(t => t is "help" or "?");

    /// <summary>Prints what -o help prints.</summary>
    /// <param name="o">Where to.</param>
    /// <param name="driver">Whose options.</param>
    /// <param name="hasFile">Whether a file is named, so that what its file system can do counts too.</param>
    public static void PrintHelp(TextWriter o, BlockDriver driver, bool hasFile)
    {
        o.WriteLine(hasFile ? "Supported options:" : $"Supported {driver.Name} options:");

        // Raw images leave all but their size to the file below.
        PrintList(o, (hasFile ? WithProtocol(driver) : driver.CreateOptions).Where(c => hasFile || driver.Name != "raw" || c.Name == "size"));

        if (!hasFile)
        {
            o.WriteLine();
            o.WriteLine("The protocol level may support further options.");
            o.WriteLine("Specify the target filename to include those options.");
        }
    }

    /// <summary>Prints options with their types, by name.</summary>
    /// <param name="o">Where to.</param>
    /// <param name="options">The options.</param>
    public static void PrintList(TextWriter o, IEnumerable<(string Name, string Help)> options)
    {
        foreach ((string name, string help) in options.OrderBy(c => c.Name, StringComparer.Ordinal))
        {
            string head = $"{name}=<{Known.FirstOrDefault(k => k.Name == name).Type ?? "str"}>";
            o.WriteLine($"  {head,-22} - {help}");
        }
    }

    /// <summary>Reads -o arguments; a later one wins.</summary>
    /// <param name="texts">The -o arguments.</param>
    /// <returns>The options.</returns>
    public static OptionSet Parse(IEnumerable<string> texts)
    {
        var options = new OptionSet();
        foreach (string part in texts.Select(CheckList).SelectMany(KeyValueText.Split))
        {
            int equals = part.IndexOf('=');
            bool isNegated = equals < 0 && part.StartsWith("no", StringComparison.Ordinal);
            string name = equals >= 0 ? part[..equals] : isNegated ? part[2..] : part;
            options.Set(name, equals >= 0 ? part[(equals + 1)..] : isNegated ? "off" : "on");
        }

        return options;
    }

    // A comma at either end separates nothing; two of them at the end are one that belongs to a value.
    private static string CheckList(string text)
    {
        int commas = text.Length - text.TrimEnd(',').Length;
        return text.Length > 0 && text[0] != ',' && commas % 2 == 0 ? text : throw new UsageException($"Invalid option list: {text}") { HasHint = false };
    }

    /// <summary>Refuses a name that neither the driver nor the file below it lists, and a value that is not of its type.</summary>
    /// <param name="driver">The driver.</param>
    /// <param name="options">The options.</param>
    public static void Check(BlockDriver driver, OptionSet options)
    {
        foreach (string name in options.DottedNames)
        {
            if (name != "size" && !WithProtocol(driver).Any(c => c.Name == name))
            {
                throw new OptionException($"Invalid parameter '{name}'");
            }

            CheckType(options.Clone(), name, Known.FirstOrDefault(k => k.Name == name).Type);
        }
    }

    private static void CheckType(OptionSet options, string name, string? type)
    {
        for (int dot = name.IndexOf('.'); dot >= 0; dot = name.IndexOf('.'))
        {
            options = options.TakeSet(name[..dot]);
            name = name[(dot + 1)..];
        }

        switch (type)
        {
            case "size":
                options.TakeSize(name);
                break;
            case "num":
                options.TakeNumber(name);
                break;
            case "bool (on/off)":
                options.TakeBool(name);
                break;
        }
    }

    /// <summary>The options that name secrets, which opening the new image takes as well.</summary>
    /// <param name="options">Creation options.</param>
    /// <returns>Those of the options.</returns>
    public static OptionSet KeySecrets(OptionSet options)
    {
        var secrets = new OptionSet();
        foreach (string name in options.DottedNames.Where(n => n.EndsWith("key-secret", StringComparison.Ordinal)))
        {
            secrets.Set(name, options.Peek(name)!);
        }

        return secrets;
    }

    private static IEnumerable<(string Name, string Help)> WithProtocol(BlockDriver driver)
        => driver.CreateOptions.Concat(ImageCreation.FindDriver("file").CreateOptions).DistinctBy(c => c.Name);

    /// <summary>"fmt=qcow2 cluster_size=65536 ...", as `create` shows what it does.</summary>
    /// <param name="driver">The driver.</param>
    /// <param name="options">What was given.</param>
    /// <param name="size">The virtual size.</param>
    /// <returns>The text.</returns>
    public static string Describe(BlockDriver driver, OptionSet options, long size)
    {
        var parts = new List<string> { $"fmt={driver.Name}" };
        bool hasDefaults = driver.Name == "qcow2";
        foreach ((string name, string type, string? standard) in Known)
        {
            string? value = name == "size" ? size.ToString(CultureInfo.InvariantCulture) : options.Peek(name) ?? (hasDefaults ? standard : null);
            if (value is not null)
            {
                parts.Add($"{name}={(type == "size" && SizeText.TryParse(value, out long bytes) ? bytes : value.Replace(",", ",,", StringComparison.Ordinal))}");
            }
        }

        if (!hasDefaults && parts.FindIndex(p => p.StartsWith("size=", StringComparison.Ordinal)) is > 1 and var at)
        {
            // The size comes first where no option has a default.
            parts.Insert(1, parts[at]);
            parts.RemoveAt(at + 1);
        }

        return string.Join(' ', parts);
    }
}
