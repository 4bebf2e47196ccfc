using System.Runtime.InteropServices;

namespace Ingot.Linux;

/// <summary>System calls of libc, declared as the manual pages give them; grouped by section in the files of this class.</summary>
public static unsafe partial class Libc
{
#pragma warning disable CS1591 // The manual page of the same name is the documentation.
    public const int O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_ACCMODE = 3, O_CREAT = 0x40, O_EXCL = 0x80, O_TRUNC = 0x200,
        O_APPEND = 0x400, O_NONBLOCK = 0x800, O_DSYNC = 0x1000, O_DIRECT = 0x4000, O_DIRECTORY = 0x10000, O_CLOEXEC = 0x80000, O_TMPFILE = 0x410000;
    public const int SEEK_SET = 0, SEEK_CUR = 1, SEEK_END = 2, SEEK_DATA = 3, SEEK_HOLE = 4;
    public const int FALLOC_FL_KEEP_SIZE = 1, FALLOC_FL_PUNCH_HOLE = 2, FALLOC_FL_ZERO_RANGE = 16;
    public const int AT_FDCWD = -100;
    public const uint RENAME_NOREPLACE = 1;
    public const int F_GETFD = 1, F_SETFD = 2, F_GETFL = 3, F_SETFL = 4, F_DUPFD_CLOEXEC = 1030, F_OFD_GETLK = 36, F_OFD_SETLK = 37, F_ADD_SEALS = 1033, F_GET_SEALS = 1034;
    public const int F_SEAL_SEAL = 1, F_SEAL_SHRINK = 2, F_SEAL_GROW = 4;
    public const short F_RDLCK = 0, F_WRLCK = 1, F_UNLCK = 2;
    public const uint S_IFMT = 0xF000, S_IFREG = 0x8000, S_IFBLK = 0x6000, S_IFCHR = 0x2000, S_IFSOCK = 0xC000, S_IFLNK = 0xA000, S_IFDIR = 0x4000;
    public const nuint BLKGETSIZE64 = 0x80081272, BLKSSZGET = 0x1268, BLKPBSZGET = 0x127B, BLKDISCARD = 0x1277, BLKZEROOUT = 0x127F, BLKROGET = 0x125E, BLKFLSBUF = 0x1261, CDROM_DRIVE_STATUS = 0x5326, CDSL_CURRENT = int.MaxValue;
    public const int RWF_DSYNC = 2;

    [StructLayout(LayoutKind.Sequential)]
    public struct iovec
    {
        public void* iov_base;
        public nuint iov_len;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct flock
    {
        public short l_type;
        public short l_whence;
        public long l_start;
        public long l_len;
        public int l_pid;
        private readonly int _padding;
    }

    /// <summary>struct stat of x86-64 and the fields that Ingot reads; see <see cref="Stat(int)"/> for every architecture.</summary>
    public readonly record struct FileStatus(uint Mode, long Size, long Blocks, long BlockSize, ulong Device, ulong Inode)
    {
        /// <summary>How many names it has.</summary>
        public uint Links { get; init; }

        /// <summary>Its owner.</summary>
        public uint Owner { get; init; }

        /// <summary>Its group.</summary>
        public uint Group { get; init; }

        /// <summary>Whether something is mounted on it.</summary>
        public bool IsMountPoint { get; init; }
    }

    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct statx_t
    {
        [FieldOffset(4)] public uint stx_blksize;
        [FieldOffset(8)] public ulong stx_attributes;
        [FieldOffset(16)] public uint stx_nlink;
        [FieldOffset(20)] public uint stx_uid;
        [FieldOffset(24)] public uint stx_gid;
        [FieldOffset(28)] public ushort stx_mode;
        [FieldOffset(32)] public ulong stx_ino;
        [FieldOffset(40)] public ulong stx_size;
        [FieldOffset(48)] public ulong stx_blocks;
        [FieldOffset(136)] public uint stx_dev_major;
        [FieldOffset(140)] public uint stx_dev_minor;
        [FieldOffset(184)] public uint stx_dio_mem_align;
        [FieldOffset(188)] public uint stx_dio_offset_align;
    }

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Custom, StringMarshallingCustomType = typeof(NativeTextMarshaller))]
    public static partial int open(string pathname, int flags, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int close(int fd);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint read(int fd, void* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint write(int fd, void* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint pread(int fd, void* buffer, nuint count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint pwrite(int fd, void* buffer, nuint count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint preadv(int fd, iovec* vector, int count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint pwritev(int fd, iovec* vector, int count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint pwritev2(int fd, iovec* vector, int count, long offset, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fdatasync(int fd);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fsync(int fd);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fallocate(int fd, int mode, long offset, long length);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint copy_file_range(int fdIn, long* offsetIn, int fdOut, long* offsetOut, nuint length, uint flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fstatfs(int fd, void* buffer);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int ftruncate(int fd, long length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial long lseek(int fd, long offset, int whence);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fcntl(int fd, int command, nint argument);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int ioctl(int fd, nuint request, void* argument);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Custom, StringMarshallingCustomType = typeof(NativeTextMarshaller))]
    private static partial int statx(int dirfd, string pathname, int flags, uint mask, statx_t* buffer);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Custom, StringMarshallingCustomType = typeof(NativeTextMarshaller))]
    public static partial int link(string from, string to);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Custom, StringMarshallingCustomType = typeof(NativeTextMarshaller))]
    public static partial int unlink(string pathname);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Custom, StringMarshallingCustomType = typeof(NativeTextMarshaller))]
    public static partial int renameat2(int oldDirectory, string oldPath, int newDirectory, string newPath, uint flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Custom, StringMarshallingCustomType = typeof(NativeTextMarshaller))]
    public static partial int rename(string from, string to);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Custom, StringMarshallingCustomType = typeof(NativeTextMarshaller))]
    public static partial int chmod(string pathname, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int isatty(int fd);

    [LibraryImport("libc", SetLastError = true)]
    private static partial byte* getcwd(byte* buffer, nuint size);
#pragma warning restore CS1591

    /// <summary>The current directory; null when it has none that can be named.</summary>
    /// <returns>An absolute path.</returns>
    public static string? TryCurrentDirectory()
    {
        const int PATH_MAX = 4096;

        // SAFETY: the call writes no more than the buffer has, with a NUL at the end.
        byte* buffer = stackalloc byte[PATH_MAX];
        return getcwd(buffer, PATH_MAX) == null ? null : NativeText.Decode(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(buffer));
    }

    /// <summary>Whether a path is a symbolic link.</summary>
    /// <param name="path">The path.</param>
    /// <returns>True for a link, wherever it leads.</returns>
    public static bool IsLink(string path)
    {
        const int AT_SYMLINK_NOFOLLOW = 0x100;
        const uint STATX_TYPE = 1;
        statx_t s;
        return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &s) == 0 && (s.stx_mode & S_IFMT) == S_IFLNK;
    }

    /// <summary>statx(2) of an open descriptor.</summary>
    /// <param name="fd">An open descriptor.</param>
    /// <returns>The status.</returns>
    /// <exception cref="ErrnoException">The call failed.</exception>
    public static FileStatus Stat(int fd)
    {
        const int AT_EMPTY_PATH = 0x1000;
        const uint STATX_BASIC_STATS = 0x7ff;
        statx_t s;
        if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &s) < 0)
        {
            throw ErrnoException.ForLastError($"Could not stat file descriptor {fd}");
        }

        return ToStatus(s);
    }

    /// <summary>statx(2) of a path; null when it does not exist or can't be reached.</summary>
    /// <param name="path">The path.</param>
    /// <returns>The status or null.</returns>
    public static FileStatus? TryStat(string path)
    {
        const uint STATX_BASIC_STATS = 0x7ff;
        statx_t s;
        return statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &s) < 0 ? null : ToStatus(s);
    }

    /// <summary>Copies bytes from one file to another within the kernel. Blocks.</summary>
    /// <param name="source">Read from.</param>
    /// <param name="sourceOffset">Where.</param>
    /// <param name="target">Written to.</param>
    /// <param name="targetOffset">Where.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>EINVAL when the source ends before.</returns>
    public static Errno CopyRange(int source, long sourceOffset, int target, long targetOffset, long length)
    {
        while (length > 0)
        {
            // SAFETY: both offsets are locals that outlive the call.
            nint count = copy_file_range(source, &sourceOffset, target, &targetOffset, (nuint)length, 0);
            if (count <= 0)
            {
                var errno = count == 0 ? Errno.EINVAL : (Errno)Marshal.GetLastPInvokeError();
                if (errno == Errno.EINTR)
                {
                    continue;
                }

                return errno;
            }

            length -= count;
        }

        return Errno.None;
    }

    /// <summary>What O_DIRECT wants of a file: alignment of memory and of offsets in bytes (statx with STATX_DIOALIGN, Linux 6.1).</summary>
    /// <param name="fd">An open descriptor.</param>
    /// <returns>Both alignments, or null where the kernel does not tell.</returns>
    public static (int Memory, int Offset)? TryDirectAlignment(int fd)
    {
        const int AT_EMPTY_PATH = 0x1000;
        const uint STATX_DIOALIGN = 0x2000;
        statx_t s;
        return statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &s) == 0 && s.stx_dio_offset_align > 0
            ? ((int)s.stx_dio_mem_align, (int)s.stx_dio_offset_align)
            : null;
    }

    /// <summary>True for a regular file that is memory, on tmpfs or ramfs: reading and writing is copying.</summary>
    /// <param name="fd">An open descriptor.</param>
    /// <returns>False for others, and when the kernel does not tell.</returns>
    public static bool IsInMemory(int fd)
    {
        const uint TMPFS_MAGIC = 0x01021994, RAMFS_MAGIC = 0x858458f6;
        const int StructSize = 256; // struct statfs takes 120 bytes
        byte* buffer = stackalloc byte[StructSize];

        // SAFETY: the buffer is larger than the structure, whose first field holds the type in its low 32 bits. Device nodes lie on a tmpfs too.
        return fstatfs(fd, buffer) == 0 && *(uint*)buffer is TMPFS_MAGIC or RAMFS_MAGIC && (Stat(fd).Mode & S_IFMT) == S_IFREG;
    }

    private static FileStatus ToStatus(in statx_t s)
    {
        const ulong STATX_ATTR_MOUNT_ROOT = 0x2000;
        return new(s.stx_mode, (long)s.stx_size, (long)s.stx_blocks, s.stx_blksize, ((ulong)s.stx_dev_major << 32) | s.stx_dev_minor, s.stx_ino)
        {
            Links = s.stx_nlink,
            Owner = s.stx_uid,
            Group = s.stx_gid,
            IsMountPoint = (s.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0,
        };
    }
}
