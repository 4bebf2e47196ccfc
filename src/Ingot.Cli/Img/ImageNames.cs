using Ingot.Block;
using Ingot.Drivers;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>File names that are relative to other images.</summary>
internal static class ImageNames
{
    /// <summary>The name of a backing file as seen from the working directory.</summary>
    /// <param name="overlay">The image that names it.</param>
    /// <param name="backing">The name: absolute, relative to the overlay, or with a protocol.</param>
    /// <returns>The name to open.</returns>
    public static string Resolve(string overlay, string backing)
    {
        int colon = backing.IndexOf(':');
        bool hasProtocol = colon > 0 && backing.IndexOf('/') is var slash && (slash < 0 || colon < slash);
        string directory = Path.GetDirectoryName(overlay) ?? "";
        return hasProtocol || backing.StartsWith('/') || directory.Length == 0 ? backing : Path.Combine(directory, backing);
    }

    /// <summary>The absolute path of an image's file.</summary>
    /// <param name="fileName">Its name.</param>
    /// <returns>The path.</returns>
    public static string FullPath(string fileName) => NativeText.FullPath(BlockGraph.StripFilePrefix(fileName));

    /// <summary>The image of a backing chain that a name means: relative to the image that names it, as the chain itself is written.</summary>
    /// <param name="top">The top of the chain, which is not meant.</param>
    /// <param name="name">The name.</param>
    /// <returns>The node, or null.</returns>
    public static BlockNode? FindInChain(BlockNode top, string name)
    {
        for (BlockNode node = top; node.Backing is { } backing; node = backing)
        {
            if (FullPath(Resolve(node.BaseFileName, name)) == FullPath(backing.BaseFileName))
            {
                return backing;
            }
        }

        return null;
    }
}
