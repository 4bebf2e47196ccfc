namespace Ingot.Drivers.Qcow2;

/// <summary>Names of backing files: relative ones count from the directory of the image that names them.</summary>
internal static class BackingName
{
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
