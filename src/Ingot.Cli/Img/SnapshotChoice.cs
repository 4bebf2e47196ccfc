using Ingot.Block;
using Ingot.Drivers.Qcow2;
using Ingot.Io;

namespace Ingot.Cli;

/// <summary>The internal snapshot that -l names: an id or a name, or snapshot.id=ID,snapshot.name=NAME.</summary>
/// <param name="Id">The id it must have; null for any.</param>
/// <param name="Name">The name it must have; null for any.</param>
/// <param name="Either">Its id, or else its name; null when the others say.</param>
internal sealed record SnapshotChoice(string? Id, string? Name, string? Either)
{
    /// <summary>Reads the value of -l.</summary>
    /// <param name="context">For the first line of a message of two.</param>
    /// <param name="text">The value; null without the option.</param>
    /// <returns>The choice, or null.</returns>
    public static SnapshotChoice? Parse(CommandContext context, string? text)
    {
        if (text is null || !text.StartsWith("snapshot.", StringComparison.Ordinal))
        {
            return text is null ? null : new SnapshotChoice(null, null, text);
        }

        OptionSet options = KeyValueText.Parse(text).TakeSet("snapshot");
        var choice = new SnapshotChoice(options.TakeString("id"), options.TakeString("name"), null);
        if (options.FindRest() is { } unknown)
        {
            context.Report($"Invalid parameter '{unknown}'");
            throw new OptionException($"Failed in parsing snapshot param '{text}'");
        }

        return choice;
    }

    /// <summary>Makes an image that is open for reading read as the snapshot.</summary>
    /// <param name="node">The image.</param>
    /// <returns>The task.</returns>
    public async IoTask LoadAsync(BlockNode node)
    {
        if (node is not Qcow2Node image)
        {
            throw new OptionException($"Failed to load snapshot: Block format '{node.DriverName}' used by device '' does not support temporarily loading internal snapshots");
        }

        bool isFound = Either is null
            ? await image.TryLoadSnapshotAsync(s => (Id is null || s.Id == Id) && (Name is null || s.Name == Name))
            : await image.TryLoadSnapshotAsync(s => s.Id == Either) || await image.TryLoadSnapshotAsync(s => s.Name == Either);
        if (!isFound)
        {
            throw new OptionException("Failed to load snapshot: Can't find snapshot");
        }
    }
}
