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
        CheckCommonOptions(arguments, format);
        flags |= CommonFlags(arguments);
        return arguments.Has("image-opts")
            ? OpenAsync(graph, name, true, null, flags)
            : OpenByNameAsync(graph, name, arguments.Last(format), flags);
    }

    /// <summary>Refuses common options that exclude each other.</summary>
    /// <param name="arguments">The command line.</param>
    /// <param name="format">The option that gives the format.</param>
    public static void CheckCommonOptions(Arguments arguments, string format)
    {
        if (arguments.Has("image-opts") && arguments.Has(format))
        {
            throw new UsageException("--image-opts and --format are mutually exclusive") { HasHint = false };
        }
    }

    /// <summary>The flags of -U and --untrusted.</summary>
    /// <param name="arguments">The command line.</param>
    /// <returns>The flags.</returns>
    public static OpenFlags CommonFlags(Arguments arguments)
        => (arguments.Has("force-share") ? OpenFlags.ForceShare : OpenFlags.None) | (arguments.Has("untrusted") ? OpenFlags.Untrusted : OpenFlags.None);

    /// <summary>The options that --image-opts gives.</summary>
    /// <param name="text">Pairs, or a JSON object.</param>
    /// <returns>The options.</returns>
    public static OptionSet ParseOptions(string text) => text.StartsWith('{') ? JsonText.Parse(text, "--image-opts") : KeyValueText.Parse(text);

    /// <summary>Opens an image by its file name, warning when it is written to as a raw image that was only guessed to be one.</summary>
    /// <param name="graph">Where named nodes go.</param>
    /// <param name="name">The file name.</param>
    /// <param name="format">The format, or null to probe.</param>
    /// <param name="flags">How to open.</param>
    /// <returns>The node; owned by the caller.</returns>
    public static IoTask<BlockNode> OpenByNameAsync(BlockGraph graph, string name, string? format, OpenFlags flags)
        => format is not null || (flags & OpenFlags.ReadWrite) == 0 ? OpenAsync(graph, name, false, format, flags) : OpenProbedAsync(graph, name, flags);

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
            if (isOptions && name.Length > 0 && !name.StartsWith('{') && !name.Contains('='))
            {
                throw new OptionException($"Cannot find device='{name}' nor node-name='{name}'");
            }

            BlockNode node = isOptions
                ? await graph.OpenAsync(ParseOptions(name), flags)
                : await graph.OpenFileAsync(name, format, flags);
            if ((flags & OpenFlags.ReadWrite) != 0 && node.IsReadOnly)
            {
                await node.CloseAsync();
                throw new ErrnoException(Errno.EPERM, "Block node is read-only");
            }

            return node;
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"Could not open '{name}': {e.Message}", e);
        }
    }

    /// <summary>Opens an image that was just created.</summary>
    /// <param name="graph">Where named nodes go.</param>
    /// <param name="name">Its file name.</param>
    /// <param name="format">Its format.</param>
    /// <param name="secrets">The options that name its secrets.</param>
    /// <param name="flags">How to open.</param>
    /// <returns>The node; owned by the caller.</returns>
    public static IoTask<BlockNode> OpenNewAsync(BlockGraph graph, string name, string format, OptionSet secrets, OpenFlags flags)
    {
        if (secrets.IsEmpty)
        {
            return OpenAsync(graph, name, false, format, flags);
        }

        secrets.Set("driver", format);
        secrets.Set("file.filename", name);
        return graph.OpenAsync(secrets, flags);
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
