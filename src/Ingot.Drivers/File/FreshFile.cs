using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.File;

/// <summary>The file of a new image.</summary>
internal static class FreshFile
{
    /// <summary>Creates a file and has it filled; a file that can't be filled goes away: nothing of what it held is left.</summary>
    /// <param name="fileName">Its name.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="options">Creation options; those of files are taken.</param>
    /// <param name="fill">Fills it.</param>
    internal static async IoTask FillAsync(string fileName, long size, OptionSet options, Func<IoTask> fill)
    {
        string path = BlockGraph.StripFilePrefix(fileName);
        await FileDriver.CreateFileAsync(fileName, size, options);
        try
        {
            await fill();
        }
        catch when (Libc.TryStat(path) is { } status && (status.Mode & Libc.S_IFMT) == Libc.S_IFREG)
        {
            _ = Libc.unlink(path);
            throw;
        }
    }

    /// <summary>Opens a file that was created.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="fileName">Its name.</param>
    /// <param name="flags">How to open it.</param>
    /// <returns>The file.</returns>
    internal static async IoTask<ChildNode> OpenAsync(BlockGraph graph, string fileName, OpenFlags flags)
    {
        var options = new OptionSet();
        options.Set("filename", fileName);
        return await graph.OpenChildAsync(options, "file", flags) ?? throw new OptionException($"Could not open '{fileName}'");
    }
}
