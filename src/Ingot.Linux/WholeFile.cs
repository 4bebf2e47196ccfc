namespace Ingot.Linux;

/// <summary>
/// Files of the host that are read at once: configuration, keys, patterns. Failures are the kernel's error numbers, which the runtime's file classes hide
/// behind exceptions of many kinds.
/// </summary>
public static unsafe class WholeFile
{
    private const int ChunkLength = 64 << 10;

    /// <summary>Reads the beginning of a file. Blocks.</summary>
    /// <param name="path">Its name.</param>
    /// <param name="maxLength">The most bytes to read.</param>
    /// <returns>The whole file if it is not longer.</returns>
    /// <exception cref="FileReadException">It can't be opened or read.</exception>
    public static byte[] Read(string path, int maxLength)
    {
        int fd = Libc.open(path, Libc.O_RDONLY | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            throw Failure(path, isOpen: false);
        }

        using var file = new FileDescriptor(fd);
        byte[] content = new byte[Math.Min(maxLength, ChunkLength)];
        int length = 0;
        while (length < maxLength)
        {
            if (length == content.Length)
            {
                Array.Resize(ref content, (int)Math.Min(maxLength, 2L * length));
            }

            // SAFETY: the pin holds for the call, which writes no more than what is left of the array.
            fixed (byte* bytes = content)
            {
                nint count = Libc.read(fd, bytes + length, (nuint)(content.Length - length));
                if (count < 0)
                {
                    throw Failure(path, isOpen: true);
                }

                if (count == 0)
                {
                    break;
                }

                length += (int)count;
            }
        }

        return content[..length];
    }

    private static FileReadException Failure(string path, bool isOpen)
        => new((Errno)System.Runtime.InteropServices.Marshal.GetLastPInvokeError(), path, isOpen);
}

/// <summary>A file of the host that can't be read.</summary>
/// <param name="errno">Why.</param>
/// <param name="path">Its name.</param>
/// <param name="isOpen">Whether it could be opened.</param>
public sealed class FileReadException(Errno errno, string path, bool isOpen) : ErrnoException(errno, $"{path}: {Text(errno)}")
{
    /// <summary>Whether the file could be opened, but not read: a directory.</summary>
    public bool IsOpen { get; } = isOpen;
}
