using Ingot.Linux;
using static Ingot.Linux.IoUringAbi;

namespace Ingot.Io;

/// <summary>
/// The files that a ring has registered, so that the kernel does not look up and count a descriptor for each request. A file's place in the table is
/// its descriptor. Only what is used often gets in. The kernel keeps a registered file open: it is taken out when its descriptor is closed.
/// </summary>
internal sealed unsafe class FixedFiles
{
    private const int UsesToRegister = 32;

    private readonly EventLoop _loop;
    private readonly int _ring;
    private readonly Entry[] _entries;

    private FixedFiles(EventLoop loop, int ring, int size)
    {
        _loop = loop;
        _ring = ring;
        _entries = new Entry[size];
    }

    /// <summary>How many are registered now.</summary>
    internal int Count { get; private set; }

    /// <summary>An empty table; null where the kernel has none (Linux 5.19) or gives none.</summary>
    internal static FixedFiles? TryCreate(EventLoop loop, int ring)
    {
        // The kernel allows as many as files may be open.
        foreach (int size in (ReadOnlySpan<int>)[1024, 128])
        {
            var table = new IoUringResourceRegister { Count = (uint)size, Flags = IORING_RSRC_REGISTER_SPARSE };

            // SAFETY: the kernel reads the structure during the call.
            if (Libc.io_uring_register(ring, IORING_REGISTER_FILES2, &table, (uint)sizeof(IoUringResourceRegister)) >= 0)
            {
                return new FixedFiles(loop, ring, size);
            }
        }

        return null;
    }

    /// <summary>Notes a use; true when the file is registered, in the place of its number.</summary>
    internal bool Use(FileDescriptor file, int fd)
    {
        if ((uint)fd >= (uint)_entries.Length)
        {
            return false;
        }

        ref Entry entry = ref _entries[fd];
        if (entry.File != file)
        {
            Forget(fd); // the number had another owner
            entry = new Entry { File = file };
        }

        return entry.IsRegistered || (++entry.Uses == UsesToRegister && Register(ref entry, file, fd));
    }

    private bool Register(ref Entry entry, FileDescriptor file, int fd)
    {
        entry.IsRegistered = TryPut(fd, fd);
        if (entry.IsRegistered)
        {
            Count++;
            file.Closing += OnClosing;
        }

        return entry.IsRegistered;
    }

    // On the thread of whoever closes the file. Its own loop lets go before the descriptor is closed, others in their next turn.
    private void OnClosing(FileDescriptor file)
    {
        if (EventLoop.CurrentOrNull == _loop)
        {
            Forget(file, file.Value);
        }
        else
        {
            int fd = file.Value;
            _loop.Post(() => Forget(file, fd));
        }
    }

    private void Forget(FileDescriptor file, int fd)
    {
        if (_entries[fd].File == file)
        {
            Forget(fd);
        }
    }

    private void Forget(int fd)
    {
        ref Entry entry = ref _entries[fd];
        if (entry.IsRegistered)
        {
            Count--;
            entry.File!.Closing -= OnClosing;
            TryPut(fd, -1);
        }

        entry = default;
    }

    private bool TryPut(int place, int fd)
    {
        var update = new IoUringResourceUpdate { Offset = (uint)place, Data = (ulong)&fd };

        // SAFETY: the kernel reads the structure and one descriptor during the call.
        return Libc.io_uring_register(_ring, IORING_REGISTER_FILES_UPDATE, &update, 1) >= 0;
    }

    private struct Entry
    {
        internal FileDescriptor? File;
        internal int Uses;
        internal bool IsRegistered;
    }
}
