namespace Ingot.Cli;

/// <summary>One option of a command: how it is spelled, what it takes, and what help says about it.</summary>
/// <param name="Short">The letter; '\0' without one.</param>
/// <param name="Long">The long name; also the key under which a command asks for it.</param>
/// <param name="Argument">The name of its value in help; null when it takes none.</param>
/// <param name="Help">One or more lines.</param>
internal sealed record Option(char Short, string Long, string? Argument, string Help)
{
    /// <summary>Other long names, that help leaves out.</summary>
    public string[] Aliases { get; init; } = [];

    /// <summary>All long names.</summary>
    public IEnumerable<string> LongNames => [Long, .. Aliases];

    public static Option Switch(char letter, string name, string help) => new(letter, name, null, help);

    public static Option Value(char letter, string name, string argument, string help) => new(letter, name, argument, help);
}
