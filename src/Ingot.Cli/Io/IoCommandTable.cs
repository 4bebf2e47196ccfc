namespace Ingot.Cli;

/// <summary>The commands of the io tool.</summary>
internal static class IoCommandTable
{
    /// <summary>All of them, in the order of their names.</summary>
    public static IReadOnlyList<IoCommand> All { get; } =
        [.. TransferCommands.All.Concat(SpaceCommands.All).Concat(ToolCommands.All).Concat(ZoneCommands.All).OrderBy(command => command.Name, StringComparer.Ordinal)];

    /// <summary>Finds a command by its name or short name.</summary>
    /// <param name="name">The name.</param>
    /// <returns>The command, or null.</returns>
    public static IoCommand? Find(string name) => All.FirstOrDefault(command => command.Name == name || command.Short == name);
}
