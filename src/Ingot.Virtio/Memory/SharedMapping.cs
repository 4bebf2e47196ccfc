using Ingot.Linux;

namespace Ingot.Virtio.Memory;

/// <summary>A part of a file that another process shares with us, mapped for reading and writing. Counted, because successive memory tables share regions.</summary>
public sealed unsafe class SharedMapping
{
    private readonly byte* _start;
    private readonly nuint _mapped;
    private readonly byte* _pointer;
    private int _references = 1;

    private SharedMapping(byte* start, nuint mapped, byte* pointer, long length)
    {
        _start = start;
        _mapped = mapped;
        _pointer = pointer;
        Length = length;
        SharedMemoryGuard.Add(start, mapped);
    }

    /// <summary>Bytes from <see cref="Pointer"/> on.</summary>
    public long Length { get; }

    /// <summary>The first byte.</summary>
    public byte* Pointer => _pointer;

    /// <summary>True when the file was shrunk under us: its bytes are gone, zeroes are in their place.</summary>
    public bool IsLost => SharedMemoryGuard.IsLost(_start);

    /// <summary>The bytes; at most 2 GiB.</summary>
    public Span<byte> Span => new(_pointer, checked((int)Length));

    /// <summary>Creates a sealed memory file that can be handed to another process.</summary>
    /// <param name="name">Its name in /proc.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>Its descriptor.</returns>
    public static FileDescriptor CreateFile(string name, long length)
    {
        int fd = Libc.memfd_create(name, Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING);
        if (fd < 0)
        {
            throw ErrnoException.ForLastError($"Could not create the memory file '{name}'");
        }

        var file = new FileDescriptor(fd);
        if (Libc.ftruncate(fd, length) == 0 && Libc.fcntl(fd, Libc.F_ADD_SEALS, Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW) == 0)
        {
            return file;
        }

        ErrnoException error = ErrnoException.ForLastError($"Could not size the memory file '{name}' to {length} bytes");
        file.Dispose();
        throw error;
    }

    /// <summary>Maps a range of a file.</summary>
    /// <param name="file">May be closed afterwards.</param>
    /// <param name="offset">First byte; any.</param>
    /// <param name="length">Bytes, at least 1.</param>
    /// <param name="what">What it is, for messages.</param>
    /// <returns>The mapping; release it.</returns>
    /// <exception cref="ErrnoException">The file is shorter than the range, or can't be mapped.</exception>
    public static SharedMapping Map(FileDescriptor file, ulong offset, ulong length, string what)
    {
        const ulong Limit = 1UL << 47;
        if (length == 0 || length > Limit || offset > Limit)
        {
            throw new ErrnoException(Errno.EPROTO, $"{what}: {length} bytes at file offset {offset} can't be mapped");
        }

        Libc.FileStatus status = Libc.Stat(file.Value);
        if ((status.Mode & Libc.S_IFMT) == Libc.S_IFREG && offset + length > (ulong)status.Size)
        {
            throw new ErrnoException(Errno.EPROTO, $"{what}: {length} bytes at file offset {offset} reach past the end of the file of {status.Size} bytes");
        }

        // The whole file up to the end of the range: huge pages allow no other offset than 0, and address space costs nothing.
        var mapped = (nuint)(offset + length);
        var start = (byte*)Libc.mmap(null, mapped, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED | Libc.MAP_NORESERVE, file.Value, 0);
        return (nint)start != -1
            ? new SharedMapping(start, mapped, start + offset, (long)length)
            : throw ErrnoException.ForLastError($"{what}: could not map {length} bytes at file offset {offset}");
    }

    /// <summary>One more owner.</summary>
    /// <returns>This mapping.</returns>
    public SharedMapping Share()
    {
        _references++;
        return this;
    }

    /// <summary>One owner less; the last one unmaps. Nobody may use the memory any more then.</summary>
    public void Release()
    {
        if (--_references == 0)
        {
            SharedMemoryGuard.Remove(_start);
            _ = Libc.munmap(_start, _mapped);
        }
    }
}
