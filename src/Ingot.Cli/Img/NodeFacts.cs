using Ingot.Block;
using Ingot.Io;

namespace Ingot.Cli;

/// <summary>What `info` says about one node and those below it, collected before anything is printed.</summary>
/// <param name="FileName">The name to open it again.</param>
/// <param name="Driver">The driver's name.</param>
/// <param name="Length">The virtual size in bytes.</param>
/// <param name="Info">The driver's facts.</param>
/// <param name="Children">The nodes below, the backing node first.</param>
internal sealed record NodeFacts(string FileName, string Driver, long Length, ImageInfo Info, IReadOnlyList<(string Role, NodeFacts Facts)> Children)
{
    private const int Sector = 512;

    /// <summary>Collects the facts of a node.</summary>
    /// <param name="node">The node.</param>
    /// <returns>The facts.</returns>
    public static async IoTask<NodeFacts> CollectAsync(BlockNode node)
    {
        ImageInfo info = await node.GetInfoAsync();
        var children = new List<(string, NodeFacts)>();
        foreach ((string role, BlockNode child) in node.Children)
        {
            // The newest first, as QEMU lists them: backing files are opened last.
            children.Insert(role == "backing" ? 0 : children.Count, (role, await CollectAsync(child)));
        }

        long length = (node.Length + Sector - 1) / Sector * Sector;
        return new NodeFacts(node.FileName, node.DriverName, node.File is null ? node.Length : length, info, children);
    }

    /// <summary>What the image takes on its host, or null.</summary>
    public long? ActualSize => Info.ActualSize ?? Children.Where(c => c.Role == "file").Select(c => c.Facts.ActualSize).FirstOrDefault();

    /// <summary>Format-specific facts with a name for their kind; files have empty ones.</summary>
    public IReadOnlyList<(string Key, object Value)>? Specific => Info.Specific ?? (SpecificType == "file" ? [] : null);

    /// <summary>What those facts are called: devices are files.</summary>
    public string SpecificType => Driver is "host_device" or "host_cdrom" ? "file" : Driver;

    /// <summary>Whether there is anything that could be dirty.</summary>
    public bool HasDirtyFlag => Driver is not ("null-co" or "null-aio");
}
