using System.Runtime.InteropServices;

namespace Ingot.Linux;

/// <summary>A non-blocking AF_UNIX stream socket: listener or connection, with descriptor passing.</summary>
public sealed unsafe class UnixSocket : IDisposable
{
    /// <summary>The most descriptors that one <see cref="TryReceive"/> takes; a peer that sends more at once is refused.</summary>
    public const int MaxDescriptors = 64;

    private readonly string? _boundPath;
    private readonly ulong _boundInode;

    /// <summary>Takes ownership of a socket that was made elsewhere, and makes it non-blocking.</summary>
    /// <param name="descriptor">An AF_UNIX stream socket.</param>
    /// <exception cref="ErrnoException">It is something else.</exception>
    public UnixSocket(FileDescriptor descriptor)
    {
        Descriptor = descriptor;
        if (GetOption(descriptor.Value, Libc.SO_DOMAIN) != Libc.AF_UNIX || GetOption(descriptor.Value, Libc.SO_TYPE) != Libc.SOCK_STREAM)
        {
            throw new ErrnoException(Errno.EINVAL, $"File descriptor {descriptor.Value} is not a Unix stream socket");
        }

        Libc.SetNonBlocking(descriptor.Value);
    }

    private UnixSocket(FileDescriptor descriptor, string? boundPath)
    {
        Descriptor = descriptor;
        _boundPath = boundPath is null ? null : NativeText.FullPath(boundPath);
        _boundInode = boundPath is null ? 0 : Libc.TryStat(boundPath)?.Inode ?? 0;
    }

    /// <summary>The descriptor; stays owned by this object.</summary>
    public FileDescriptor Descriptor { get; }

    /// <summary>True for a socket that accepts connections.</summary>
    public bool IsListening => GetOption(Descriptor.Value, Libc.SO_ACCEPTCONN) == 1;

    /// <summary>
    /// Listens on a path. A socket that a killed server left behind is taken over; a live one, and anything that is no socket, is refused.
    /// </summary>
    /// <param name="path">Where; removed when the listener is disposed.</param>
    /// <param name="backlog">Connections that may wait.</param>
    /// <returns>The listener.</returns>
    /// <exception cref="ErrnoException">The path is in use, too long, or can't be made.</exception>
    public static UnixSocket Listen(string path, int backlog = 16)
    {
        FileDescriptor descriptor = Create();
        try
        {
            // Two servers that find the same dead socket must not remove each other's new one: the directory is the lock.
            using FileDescriptor? directory = LockDirectory(path);
            if (!TryBind(descriptor, path))
            {
                RemoveDead(path);
                if (!TryBind(descriptor, path))
                {
                    throw new ErrnoException(Errno.EADDRINUSE, $"Socket '{path}' is in use by another server");
                }
            }

            if (Libc.listen(descriptor.Value, backlog) < 0)
            {
                throw ErrnoException.ForLastError($"Could not listen on socket '{path}'");
            }

            return new UnixSocket(descriptor, path);
        }
        catch
        {
            descriptor.Dispose();
            throw;
        }
    }

    /// <summary>Connects to a listener.</summary>
    /// <param name="path">Its path.</param>
    /// <returns>The connection.</returns>
    /// <exception cref="ErrnoException">Nobody listens there; EAGAIN when the listener's queue is full, so that it pays to try again.</exception>
    public static UnixSocket Connect(string path)
    {
        FileDescriptor descriptor = Create();
        Libc.sockaddr_un address = AddressOf(path);
        if (Libc.connect(descriptor.Value, &address, (uint)sizeof(Libc.sockaddr_un)) == 0)
        {
            return new UnixSocket(descriptor, null);
        }

        ErrnoException error = ErrnoException.ForLastError($"Failed to connect to '{path}'");
        descriptor.Dispose();
        throw error;
    }

    /// <summary>Makes two connected sockets.</summary>
    /// <returns>Both ends.</returns>
    public static (UnixSocket First, UnixSocket Second) CreatePair()
    {
        int* pair = stackalloc int[2];
        if (Libc.socketpair(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_NONBLOCK | Libc.SOCK_CLOEXEC, 0, pair) < 0)
        {
            throw ErrnoException.ForLastError("Could not create a socket pair");
        }

        return (new UnixSocket(new FileDescriptor(pair[0]), null), new UnixSocket(new FileDescriptor(pair[1]), null));
    }

    /// <summary>Takes a connection that waits.</summary>
    /// <returns>The connection, or null when none waits or the one that waited has gone.</returns>
    /// <exception cref="ErrnoException">The listener was shut down, or there are no descriptors left.</exception>
    public UnixSocket? TryAccept()
    {
        int fd = Libc.accept4(Descriptor.Value, null, null, Libc.SOCK_NONBLOCK | Libc.SOCK_CLOEXEC);
        if (fd >= 0)
        {
            return new UnixSocket(new FileDescriptor(fd), null);
        }

        const int ECONNABORTED = 103;
        int error = Marshal.GetLastPInvokeError();
        return error is (int)Errno.EAGAIN or (int)Errno.EINTR or ECONNABORTED ? null : throw ErrnoException.For((Errno)error, "Could not accept a connection");
    }

    /// <summary>Sends bytes, and descriptors with the first of them.</summary>
    /// <param name="data">At least one byte.</param>
    /// <param name="descriptors">Stay open and owned by the caller.</param>
    /// <returns>Bytes sent, or -1 when the socket is full: wait for POLLOUT. If any were sent, so were the descriptors.</returns>
    /// <exception cref="ErrnoException">The peer has gone.</exception>
    public int TrySend(ReadOnlySpan<byte> data, ReadOnlySpan<int> descriptors = default)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Length, MaxDescriptors);
        byte* control = stackalloc byte[ControlSize(MaxDescriptors)];
        fixed (byte* bytes = data)
        {
            var vector = new Libc.iovec { iov_base = bytes, iov_len = (nuint)data.Length };
            var message = new Libc.msghdr { msg_iov = &vector, msg_iovlen = 1 };
            if (!descriptors.IsEmpty)
            {
                // SAFETY: control has room for MaxDescriptors, checked above.
                var header = (Libc.cmsghdr*)control;
                header->cmsg_len = (nuint)(sizeof(Libc.cmsghdr) + (sizeof(int) * descriptors.Length));
                header->cmsg_level = Libc.SOL_SOCKET;
                header->cmsg_type = Libc.SCM_RIGHTS;
                descriptors.CopyTo(new Span<int>(header + 1, descriptors.Length));
                message.msg_control = control;
                message.msg_controllen = (nuint)ControlSize(descriptors.Length);
            }

            nint sent = Libc.sendmsg(Descriptor.Value, &message, Libc.MSG_DONTWAIT | Libc.MSG_NOSIGNAL);
            return sent >= 0 ? (int)sent : WouldBlock("Sending to the socket failed");
        }
    }

    /// <summary>Receives bytes and the descriptors that came with them.</summary>
    /// <param name="buffer">At least one byte.</param>
    /// <param name="descriptors">Received descriptors are added, also when the call fails; owned by the caller then.</param>
    /// <returns>Bytes received, 0 at the end of the stream, or -1 when nothing is there: wait for POLLIN.</returns>
    /// <exception cref="ErrnoException">The connection broke, or the peer sent too many descriptors.</exception>
    public int TryReceive(Span<byte> buffer, List<FileDescriptor> descriptors)
    {
        byte* control = stackalloc byte[ControlSize(MaxDescriptors)];
        fixed (byte* bytes = buffer)
        {
            var vector = new Libc.iovec { iov_base = bytes, iov_len = (nuint)buffer.Length };
            var message = new Libc.msghdr { msg_iov = &vector, msg_iovlen = 1, msg_control = control, msg_controllen = (nuint)ControlSize(MaxDescriptors) };
            nint received = Libc.recvmsg(Descriptor.Value, &message, Libc.MSG_DONTWAIT | Libc.MSG_CMSG_CLOEXEC);
            if (received < 0)
            {
                return WouldBlock("Receiving from the socket failed");
            }

            TakeDescriptors(message, descriptors);
            return (message.msg_flags & Libc.MSG_CTRUNC) == 0
                ? (int)received
                : throw new ErrnoException(Errno.EPROTO, $"The peer sent more than {MaxDescriptors} file descriptors at once");
        }
    }

    /// <summary>Ends the connection or the listening; whoever polls the socket wakes up.</summary>
    public void Shutdown() => _ = Libc.shutdown(Descriptor.Value, Libc.SHUT_RDWR);

    /// <summary>Closes the socket, and removes the path that it listens on if it is still this socket's.</summary>
    public void Dispose()
    {
        if (!Descriptor.IsClosed && _boundPath is not null && Libc.TryStat(_boundPath)?.Inode == _boundInode)
        {
            _ = Libc.unlink(_boundPath);
        }

        Descriptor.Dispose();
    }

    private static int ControlSize(int descriptors) => sizeof(Libc.cmsghdr) + ((sizeof(int) * descriptors + 7) & ~7);

    private static void TakeDescriptors(in Libc.msghdr message, List<FileDescriptor> descriptors)
    {
        var end = (byte*)message.msg_control + message.msg_controllen;
        // SAFETY: the kernel wrote the control buffer and set its length to what it used.
        for (var at = (byte*)message.msg_control; end - at >= sizeof(Libc.cmsghdr);)
        {
            var header = (Libc.cmsghdr*)at;
            if (header->cmsg_level == Libc.SOL_SOCKET && header->cmsg_type == Libc.SCM_RIGHTS)
            {
                int count = (int)(header->cmsg_len - (nuint)sizeof(Libc.cmsghdr)) / sizeof(int);
                for (int i = 0; i < count; i++)
                {
                    descriptors.Add(new FileDescriptor(((int*)(header + 1))[i]));
                }
            }

            at += (header->cmsg_len + 7) & ~(nuint)7;
        }
    }

    private static FileDescriptor Create()
    {
        int fd = Libc.socket(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_NONBLOCK | Libc.SOCK_CLOEXEC, 0);
        return fd >= 0 ? new FileDescriptor(fd) : throw ErrnoException.ForLastError("Could not create a socket");
    }

    private static Libc.sockaddr_un AddressOf(string path)
    {
        byte[] bytes = NativeText.Encode(path);
        if (bytes.Length is 0 or >= Libc.sockaddr_un.PathCapacity)
        {
            throw new ErrnoException(Errno.EINVAL, $"Socket path '{path}' must have 1 to {Libc.sockaddr_un.PathCapacity - 1} bytes, not {bytes.Length}");
        }

        var address = new Libc.sockaddr_un { sun_family = Libc.AF_UNIX };
        bytes.CopyTo(new Span<byte>(address.sun_path, Libc.sockaddr_un.PathCapacity));
        return address;
    }

    private static bool TryBind(FileDescriptor descriptor, string path)
    {
        Libc.sockaddr_un address = AddressOf(path);
        if (Libc.bind(descriptor.Value, &address, (uint)sizeof(Libc.sockaddr_un)) == 0)
        {
            return true;
        }

        var errno = (Errno)Marshal.GetLastPInvokeError();
        return errno == Errno.EADDRINUSE ? false : throw ErrnoException.For(errno, $"Could not create socket '{path}'");
    }

    // Only a refused connection proves that a socket has no owner any more.
    private static void RemoveDead(string path)
    {
        if (Libc.TryStat(path) is { } status && (status.Mode & Libc.S_IFMT) != Libc.S_IFSOCK)
        {
            throw new ErrnoException(Errno.EEXIST, $"'{path}' exists and is not a socket; it is not replaced");
        }

        try
        {
            Connect(path).Dispose();
        }
        catch (ErrnoException e) when (e.Errno == Errno.ECONNREFUSED)
        {
            _ = Libc.unlink(path);
            return;
        }
        catch (ErrnoException e) when (e.Errno is Errno.EAGAIN or Errno.ENOENT)
        {
            return;
        }

        throw new ErrnoException(Errno.EADDRINUSE, $"Socket '{path}' is in use by another server");
    }

    private static FileDescriptor? LockDirectory(string path)
    {
        string directory = Path.GetDirectoryName(NativeText.FullPath(path)) ?? "/";
        int fd = Libc.open(directory, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            return null; // binding gives the better message
        }

        _ = Libc.flock_file(fd, Libc.LOCK_EX);
        return new FileDescriptor(fd);
    }

    private static int GetOption(int fd, int name)
    {
        int value = -1;
        uint length = sizeof(int);
        return Libc.getsockopt(fd, Libc.SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
    }

    private static int WouldBlock(string what)
    {
        var errno = (Errno)Marshal.GetLastPInvokeError();
        return errno is Errno.EAGAIN or Errno.EINTR ? -1 : throw ErrnoException.For(errno, what);
    }
}
