namespace Ingot.Linux;

/// <summary>What a user of an image does, or allows others to do meanwhile. The bit numbers are those of QEMU's lock bytes.</summary>
[Flags]
public enum ImagePermissions
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Relies on what it reads.</summary>
    ConsistentRead = 1,

    /// <summary>Changes data.</summary>
    Write = 2,

    /// <summary>Writes without changing what is read.</summary>
    WriteUnchanged = 4,

    /// <summary>Changes the size.</summary>
    Resize = 8,

    /// <summary>All of it.</summary>
    All = 15,
}

/// <summary>
/// Advisory locks on image files as QEMU takes them, so that two writers of one image are refused, whichever program they are: a lock of the open file
/// description on byte 100+i says "I do i", one on byte 200+i says "nobody else may do i". All of them are shared locks; a conflict shows as an exclusive lock
/// that can't be had.
/// </summary>
public static unsafe class ImageLocks
{
    private const long DoesBase = 100;
    private const long ForbidsBase = 200;
    private const int Count = 4;
    private static readonly string[] Names = ["consistent read", "write", "write unchanged", "resize"];

    /// <summary>Takes the locks; they end when the descriptor is closed.</summary>
    /// <param name="fd">An open image.</param>
    /// <param name="fileName">Its name, for the message.</param>
    /// <param name="does">What this user does.</param>
    /// <param name="allows">What others may do meanwhile.</param>
    /// <exception cref="ErrnoException">Somebody else's use conflicts.</exception>
    public static void Take(FileDescriptor fd, string fileName, ImagePermissions does, ImagePermissions allows)
    {
        for (int i = 0; i < Count; i++)
        {
            var bit = (ImagePermissions)(1 << i);
            if ((does & bit) != 0 && !Lock(fd.Value, DoesBase + i))
            {
                return; // The file system has no such locks: as good as it gets.
            }

            if ((allows & bit) == 0)
            {
                Lock(fd.Value, ForbidsBase + i);
            }
        }

        for (int i = 0; i < Count; i++)
        {
            var bit = (ImagePermissions)(1 << i);
            if ((does & bit) != 0 && IsLocked(fd.Value, ForbidsBase + i))
            {
                throw new ErrnoException(Errno.EAGAIN, $"Failed to get \"{Names[i]}\" lock\nIs another process using the image [{fileName}]?");
            }

            if ((allows & bit) == 0 && IsLocked(fd.Value, DoesBase + i))
            {
                throw new ErrnoException(Errno.EAGAIN, $"Failed to get shared \"{Names[i]}\" lock\nIs another process using the image [{fileName}]?");
            }
        }
    }

    /// <summary>Gives the locks back before the descriptor is closed. Closing alone is not enough at once: a child process between fork and exec, and
    /// a kernel worker that is just finishing a request, still have the open file.</summary>
    /// <param name="fd">An open image.</param>
    public static void Release(FileDescriptor fd)
    {
        Unlock(fd.Value, DoesBase);
        Unlock(fd.Value, ForbidsBase);
    }

    /// <summary>Takes a whole file for one owner, as PID files are; ends when the descriptor is closed.</summary>
    /// <param name="fd">An open file.</param>
    /// <returns>False when somebody else has it.</returns>
    public static bool TryTakeWhole(FileDescriptor fd)
    {
        var request = new Libc.flock { l_type = Libc.F_WRLCK, l_whence = Libc.SEEK_SET };
        return Libc.fcntl(fd.Value, Libc.F_OFD_SETLK, (nint)(&request)) == 0;
    }

    private static void Unlock(int fd, long offset)
    {
        var request = new Libc.flock { l_type = Libc.F_UNLCK, l_whence = Libc.SEEK_SET, l_start = offset, l_len = Count };
        _ = Libc.fcntl(fd, Libc.F_OFD_SETLK, (nint)(&request));
    }

    private static bool Lock(int fd, long offset)
    {
        var request = new Libc.flock { l_type = Libc.F_RDLCK, l_whence = Libc.SEEK_SET, l_start = offset, l_len = 1 };
        return Libc.fcntl(fd, Libc.F_OFD_SETLK, (nint)(&request)) == 0;
    }

    private static bool IsLocked(int fd, long offset)
    {
        var request = new Libc.flock { l_type = Libc.F_WRLCK, l_whence = Libc.SEEK_SET, l_start = offset, l_len = 1 };
        return Libc.fcntl(fd, Libc.F_OFD_GETLK, (nint)(&request)) == 0 && request.l_type != Libc.F_UNLCK;
    }
}
