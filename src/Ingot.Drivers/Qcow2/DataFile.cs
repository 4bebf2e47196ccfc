using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Qcow2;

/// <summary>Finds and opens the external data file of an image: the one that the user gives, else the one that the image names.</summary>
internal static class DataFile
{
    /// <summary>Opens the data file.</summary>
    /// <param name="request">How the image is opened.</param>
    /// <param name="image">The image.</param>
    /// <param name="option">The option "data-file": a node name, options, or null.</param>
    /// <returns>The file; null for an image without one, or when only facts are wanted.</returns>
    internal static async IoTask<ChildNode?> OpenAsync(OpenRequest request, Qcow2Image image, object? option)
    {
        Qcow2Header header = image.Header.Current;
        if (!header.HasDataFile)
        {
            return option is null ? null : throw new OptionException("'data-file' can only be set for images with an external data file");
        }

        OpenFlags flags = request.Flags & ~(OpenFlags.NoBacking | OpenFlags.Check);
        if (option is not null)
        {
            return await request.Graph.OpenChildAsync(option, "data-file", flags);
        }

        if ((request.Flags & OpenFlags.NoIo) != 0)
        {
            return null;
        }

        string name = header.DataFile ?? throw new OptionException("'data-file' is required for this image");
        UntrustedImage.RefuseName(request.Flags, image.File.FileName, "data file", name);
        var options = new OptionSet();
        options.Set("filename", Locate(name, image.File.BaseFileName));
        return await request.Graph.OpenChildAsync(options, "data-file", flags);
    }

    // QEMU looks in the working directory; an image that was moved together with its data file is found from anywhere.
    private static string Locate(string name, string imageName)
    {
        string beside = BackingName.Resolve(name, imageName);
        return Libc.TryStat(BlockGraph.StripFilePrefix(name)) is null && Libc.TryStat(beside) is not null ? beside : name;
    }
}
