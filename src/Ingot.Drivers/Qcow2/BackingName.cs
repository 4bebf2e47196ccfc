namespace Ingot.Drivers.Qcow2;

/// <summary>Names of backing files: relative ones count from the directory of the image that names them.</summary>
internal static class BackingName
{
    /// <summary>False for a relative name in an image that is in no directory.</summary>
    internal static bool CanResolve(string name, string imageName)
        => Path.IsPathRooted(name) || BlockGraph.HasProtocol(name) || !imageName.StartsWith("json:", StringComparison.Ordinal);

    internal static string Resolve(string name, string imageName)
    {
        if (name.Length == 0 || BlockGraph.HasProtocol(name) || BlockGraph.HasProtocol(imageName))
        {
            return name;
        }

        string? directory = Path.GetDirectoryName(imageName);
        return Path.IsPathRooted(name) || string.IsNullOrEmpty(directory) ? name : Path.Combine(directory, name);
    }
}
