using Ingot.Block;
using Ingot.Linux;

namespace Ingot.Drivers;

/// <summary>What images opened with <see cref="OpenFlags.Untrusted"/> may not do.</summary>
internal static class UntrustedImage
{
    /// <summary>Bytes that the tables of one image may claim in memory, beside caches of a fixed size.</summary>
    internal const long MaxTableBytes = 32 << 20;

    /// <summary>Refuses to follow a name that stands in an image.</summary>
    /// <param name="flags">How the image is opened.</param>
    /// <param name="fileName">The image.</param>
    /// <param name="role">What it names: "backing file".</param>
    /// <param name="name">The name in it.</param>
    /// <exception cref="ErrnoException">EACCES: the image is untrusted.</exception>
    internal static void RefuseName(OpenFlags flags, string fileName, string role, string name)
    {
        if ((flags & OpenFlags.Untrusted) != 0)
        {
            throw new ErrnoException(Errno.EACCES, $"Untrusted image '{fileName}' names the {role} '{name}', which is not opened");
        }
    }

    /// <summary>Refuses tables that are too large.</summary>
    /// <param name="flags">How the image is opened.</param>
    /// <param name="fileName">The image.</param>
    /// <param name="what">What claims the memory: "L1 table".</param>
    /// <param name="bytes">How much.</param>
    /// <exception cref="ImageFormatException">The image is untrusted, and this is too much.</exception>
    internal static void LimitTable(OpenFlags flags, string fileName, string what, long bytes)
    {
        if ((flags & OpenFlags.Untrusted) != 0 && bytes > MaxTableBytes)
        {
            throw new ImageFormatException($"Untrusted image '{fileName}': its {what} needs {bytes} bytes of memory, at most {MaxTableBytes} are allowed");
        }
    }
}
