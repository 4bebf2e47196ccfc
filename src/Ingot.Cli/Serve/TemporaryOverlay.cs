using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>A qcow2 over an image that takes all writes and is gone at the end (--snapshot).</summary>
internal static class TemporaryOverlay
{
    /// <summary>Puts the overlay over an image.</summary>
    /// <param name="graph">The way to open it.</param>
    /// <param name="image">The image, opened for reading; to be closed after the overlay.</param>
    /// <returns>The overlay.</returns>
    public static async IoTask<BlockNode> OpenAsync(BlockGraph graph, BlockNode image)
    {
        string path = Path.Combine(Path.GetTempPath(), $"ingot-snapshot-{Guid.NewGuid():N}.qcow2");
        try
        {
            await DriverTable.Find("qcow2")!.CreateAsync(new CreateRequest(graph, path, image.Length, new OptionSet()));
            var options = new OptionSet();
            options.Set("driver", "qcow2");
            options.Set("file.driver", "file");
            options.Set("file.filename", path);
            options.Set("backing", image.Name);
            graph.Add(image);
            return await graph.OpenAsync(options, OpenFlags.ReadWrite | OpenFlags.NoFlush);
        }
        finally
        {
            // The open file lives on without a name: nothing stays behind, however the process ends.
            _ = Libc.unlink(path);
        }
    }
}
