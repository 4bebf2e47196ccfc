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
}
