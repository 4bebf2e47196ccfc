using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;

namespace Ingot.Cli;

/// <summary>Finds drivers for new images and makes them; shared by create, convert and dd.</summary>
internal static class ImageCreation
{
    /// <summary>The driver of a format.</summary>
    /// <param name="format">The format.</param>
    /// <returns>The driver.</returns>
    public static BlockDriver FindDriver(string format) => DriverTable.Find(format) ?? throw new OptionException($"Unknown file format '{format}'");

    /// <summary>The driver of a format that images can be created in.</summary>
    /// <param name="format">The format.</param>
    /// <returns>The driver.</returns>
    public static BlockDriver FindCreator(string format)
        => FindDriver(format) is { CreateOptions.Count: > 0 } driver ? driver : throw new OptionException($"Format driver '{format}' does not support image creation");

    /// <summary>Refuses a target whose name says a protocol that makes no files: only "file:", and "host_device:" for what is there already, do.</summary>
    /// <param name="fileName">Its name.</param>
    public static void CheckProtocol(string fileName)
    {
        string protocol = BlockGraph.ProtocolOf(fileName).Name;
        if (protocol is not ("file" or "host_device" or "host_cdrom"))
        {
            throw new OptionException($"Protocol driver '{protocol}' does not support image creation");
        }
    }

    /// <summary>Whether images of a format can hold compressed data.</summary>
    /// <param name="format">The format.</param>
    /// <returns>True when they can.</returns>
    public static bool CanCompress(string format) => FindDriver(format).CreateOptions.Any(o => o.Name == "compression_type");

    /// <summary>Creates an image.</summary>
    /// <param name="graph">The way to open the file below.</param>
    /// <param name="driver">The format.</param>
    /// <param name="fileName">Where.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="options">Creation options; consumed.</param>
    /// <returns>The task.</returns>
    public static async IoTask CreateAsync(BlockGraph graph, BlockDriver driver, string fileName, long size, OptionSet options)
    {
        await driver.CreateAsync(new CreateRequest(graph, fileName, size, options));
        options.RefuseRest($"format '{driver.Name}'");
    }
}
