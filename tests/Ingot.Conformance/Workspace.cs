using System.Security.Cryptography;

namespace Ingot.Conformance;

/// <summary>A directory for one test's images and sockets; short, since a socket's path must fit into 108 bytes.</summary>
internal sealed class Workspace : IDisposable
{
    private readonly string _path = Directory.CreateTempSubdirectory("ingot-").FullName;

    internal string this[string name] => Path.Combine(_path, name);

    /// <summary>A raw image with data that repeats for the same seed, and a hole in its second half.</summary>
    internal string RawImage(string name, int mebibytes, int seed)
    {
        byte[] data = new byte[mebibytes << 19];
        new Random(seed).NextBytes(data);
        using FileStream file = File.Create(this[name]);
        file.Write(data);
        file.SetLength((long)mebibytes << 20);
        return this[name];
    }

    internal string EmptyImage(string name, long mebibytes)
    {
        using FileStream file = File.Create(this[name]);
        file.SetLength(mebibytes << 20);
        return this[name];
    }

    internal string Sha256(string name, int bytes)
    {
        byte[] head = new byte[bytes];
        using FileStream file = File.OpenRead(this[name]);
        file.ReadExactly(head);
        return Convert.ToHexStringLower(SHA256.HashData(head));
    }

    public void Dispose() => Directory.Delete(_path, recursive: true);
}
