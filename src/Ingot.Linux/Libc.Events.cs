using System.Runtime.InteropServices;

namespace Ingot.Linux;

public static unsafe partial class Libc
{
#pragma warning disable CS1591 // The manual page of the same name is the documentation.
    public const int EFD_CLOEXEC = 0x80000, EFD_NONBLOCK = 0x800;
    public const short POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16, POLLRDHUP = 0x2000;

    [StructLayout(LayoutKind.Sequential)]
    public struct pollfd
    {
        public int fd;
        public short events;
        public short revents;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct timespec
    {
        public long tv_sec;
        public long tv_nsec;
    }

    [LibraryImport("libc", SetLastError = true)]
    public static partial int eventfd(uint initial, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int poll(pollfd* fds, nuint count, int timeoutMilliseconds);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int ppoll(pollfd* fds, nuint count, timespec* timeout, void* signalMask);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long syscall2(long number, uint a, void* b);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long syscall6(long number, int a, uint b, uint c, uint d, void* e, nuint f);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long syscall4(long number, int a, uint b, void* c, uint d);
#pragma warning restore CS1591

    /// <summary>io_uring_setup(2).</summary>
    /// <param name="entries">Submission queue size.</param>
    /// <param name="parameters">In and out.</param>
    /// <returns>The ring's descriptor, or -1 with the last error set.</returns>
    public static int io_uring_setup(uint entries, IoUringParams* parameters) => (int)syscall2(425, entries, parameters);

    /// <summary>io_uring_enter(2).</summary>
    /// <param name="fd">The ring.</param>
    /// <param name="toSubmit">Entries to submit.</param>
    /// <param name="minComplete">Completions to wait for.</param>
    /// <param name="flags">IORING_ENTER_*.</param>
    /// <param name="argument">io_uring_getevents_arg with EXT_ARG.</param>
    /// <param name="size">Its size.</param>
    /// <returns>Entries submitted, or -1 with the last error set.</returns>
    public static int io_uring_enter(int fd, uint toSubmit, uint minComplete, uint flags, void* argument, nuint size)
        => (int)syscall6(426, fd, toSubmit, minComplete, flags, argument, size);

    /// <summary>io_uring_register(2).</summary>
    /// <param name="fd">The ring.</param>
    /// <param name="opcode">IORING_REGISTER_*.</param>
    /// <param name="argument">As the opcode says.</param>
    /// <param name="count">As the opcode says.</param>
    /// <returns>Not negative on success, or -1 with the last error set.</returns>
    public static int io_uring_register(int fd, uint opcode, void* argument, uint count) => (int)syscall4(427, fd, opcode, argument, count);
}
