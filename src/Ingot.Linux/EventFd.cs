namespace Ingot.Linux;

/// <summary>An eventfd(2) counter used as a doorbell: any thread or process may signal, one side waits.</summary>
public sealed unsafe class EventFd : IDisposable
{
    /// <summary>Creates a new non-blocking counter at zero.</summary>
    /// <exception cref="ErrnoException">No descriptor could be made.</exception>
    public EventFd()
    {
        int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        Descriptor = fd >= 0 ? new FileDescriptor(fd) : throw ErrnoException.ForLastError("Could not create an eventfd");
    }

    /// <summary>The descriptor; stays owned by this object.</summary>
    public FileDescriptor Descriptor { get; }

    /// <summary>Adds one to the counter of any eventfd, or a byte stream that stands for one. A full counter is as good as a signal.</summary>
    /// <param name="fd">The descriptor.</param>
    public static void Signal(int fd)
    {
        ulong one = 1;
        _ = Libc.write(fd, &one, sizeof(ulong));
    }

    /// <summary>Takes what the counter holds, without blocking.</summary>
    /// <param name="fd">The descriptor; must be non-blocking.</param>
    public static void Clear(int fd)
    {
        ulong value;
        _ = Libc.read(fd, &value, sizeof(ulong));
    }

    /// <summary>Adds one to the counter.</summary>
    public void Signal() => Signal(Descriptor.Value);

    /// <summary>Sets the counter to zero.</summary>
    public void Clear() => Clear(Descriptor.Value);

    /// <inheritdoc/>
    public void Dispose() => Descriptor.Dispose();
}
