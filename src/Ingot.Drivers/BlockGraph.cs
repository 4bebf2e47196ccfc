using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers;

/// <summary>The nodes of a process by name, and the one way in which nodes come to be: from a file name, from options, as a child.</summary>
public sealed class BlockGraph
{
    private readonly Dictionary<string, BlockNode> _named = new(StringComparer.Ordinal);

    /// <summary>Nodes that were given a name, in the order they came.</summary>
    public IReadOnlyCollection<BlockNode> NamedNodes => _named.Values;

    /// <summary>Messages that an operator should see but that fail nothing: "format was not specified, probing".</summary>
    public Action<string>? Warn { get; set; }

    /// <summary>Opens an image by file name, as `qemu-img info NAME` does.</summary>
    /// <param name="fileName">A path, "file:PATH", or a json: name.</param>
    /// <param name="format">The format, or null to probe.</param>
    /// <param name="flags">How to open.</param>
    /// <returns>The topmost node; owned by the caller.</returns>
    public IoTask<BlockNode> OpenFileAsync(string fileName, string? format, OpenFlags flags) => throw new NotImplementedException();

    /// <summary>Opens a node from options (--blockdev, --image-opts). A node with a name of its own is registered.</summary>
    /// <param name="options">With "driver"; without it the format is probed.</param>
    /// <param name="flags">How to open; the options "read-only", "cache.direct", "cache.no-flush", "force-share" change them.</param>
    /// <returns>The node; owned by the caller.</returns>
    public IoTask<BlockNode> OpenAsync(OptionSet options, OpenFlags flags) => throw new NotImplementedException();

    /// <summary>Opens or finds the child that a reference names.</summary>
    /// <param name="reference">A node name, an <see cref="OptionSet"/>, or null.</param>
    /// <param name="role">Its role, for messages.</param>
    /// <param name="flags">How to open it.</param>
    /// <returns>The child, or null without a reference.</returns>
    public IoTask<ChildNode?> OpenChildAsync(object? reference, string role, OpenFlags flags) => throw new NotImplementedException();

    /// <summary>Finds a node by name.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The node, or null.</returns>
    public BlockNode? Find(string name) => _named.GetValueOrDefault(name);
}
