using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>Opens the images that a command line names.</summary>
internal static class ImageOpener
{
    /// <summary>Opens an image as the common options say (-f, --image-opts, -U, --untrusted).</summary>
    /// <param name="graph">Where named nodes go.</param>
    /// <param name="arguments">The command line.</param>
    /// <param name="name">The operand.</param>
    /// <param name="flags">How to open.</param>
    /// <param name="format">The option that gives the format.</param>
    /// <returns>The node; owned by the caller.</returns>
    public static IoTask<BlockNode> OpenAsync(BlockGraph graph, Arguments arguments, string name, OpenFlags flags, string format = "format")
    {
        CommonOptions.RefuseObjects(arguments);
        bool imageOpts = arguments.Has("image-opts");
        if (imageOpts && arguments.Has(format))
        {
            throw new UsageException("--image-opts and --format are mutually exclusive") { HasHint = false };
        }

        flags = arguments.Has("force-share") ? flags | OpenFlags.ForceShare : flags;
        flags = arguments.Has("untrusted") ? flags | OpenFlags.Untrusted : flags;
        return imageOpts || arguments.Has(format) || (flags & OpenFlags.ReadWrite) == 0
            ? OpenAsync(graph, name, imageOpts, arguments.Last(format), flags)
            : OpenProbedAsync(graph, name, flags);
    }

    // A guest could write the header of another format into a raw image that is always probed, and so read any file of the host by a backing name.
    private static async IoTask<BlockNode> OpenProbedAsync(BlockGraph graph, string name, OpenFlags flags)
    {
        BlockNode node = await OpenAsync(graph, name, false, null, flags);
        if (node.DriverName == "raw")
        {
            graph.Warn?.Invoke($"WARNING: Image format was not specified for '{name}' and probing guessed raw.\n"
                + "         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n"
                + "         Specify the 'raw' format explicitly to remove the restrictions.");
        }

        return node;
    }

    /// <summary>Opens an image by name or by options.</summary>
    /// <param name="graph">Where named nodes go.</param>
    /// <param name="name">A file name, or options.</param>
    /// <param name="isOptions">True for options.</param>
    /// <param name="format">The format of a file name; null to probe.</param>
    /// <param name="flags">How to open.</param>
    /// <returns>The node; owned by the caller.</returns>
    public static async IoTask<BlockNode> OpenAsync(BlockGraph graph, string name, bool isOptions, string? format, OpenFlags flags)
    {
        try
        {
            if (isOptions && !name.StartsWith('{') && !name.Contains('='))
            {
                throw new OptionException($"Cannot find device='{name}' nor node-name='{name}'");
            }

            return isOptions
                ? await graph.OpenAsync(name.StartsWith('{') ? JsonText.Parse(name, "--image-opts") : KeyValueText.Parse(name), flags)
                : await graph.OpenFileAsync(name, format, flags);
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"Could not open '{name}': {e.Message}", e);
        }
    }

    /// <summary>The flags of a cache mode.</summary>
    /// <param name="mode">The mode; null for the default given.</param>
    /// <param name="fallback">The default.</param>
    /// <param name="what">Whose mode it is, for the message: "cache".</param>
    /// <returns>The flags.</returns>
    public static OpenFlags CacheFlags(string? mode, string fallback, string what) => (mode ?? fallback) switch
    {
        "none" or "off" => OpenFlags.Direct,
        "writeback" => OpenFlags.None,
        "writethrough" => OpenFlags.WriteThrough,
        "directsync" => OpenFlags.Direct | OpenFlags.WriteThrough,
        "unsafe" => OpenFlags.NoFlush,
        _ => throw new UsageException($"Invalid {what} option: {mode}") { HasHint = false },
    };
}
