using System.Runtime.InteropServices;

namespace Ingot.Linux;

public static partial class Libc
{
#pragma warning disable CS1591 // The manual page of the same name is the documentation.
    public const int W_OK = 2, SIGINT = 2, SIGQUIT = 3, SIGUSR1 = 10, SIGTERM = 15, SIGXFSZ = 25, CLOCK_THREAD_CPUTIME_ID = 3;
    public const nint SIG_DFL = 0, SIG_IGN = 1;

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Custom, StringMarshallingCustomType = typeof(NativeTextMarshaller))]
    public static partial int access(string pathname, int mode);

    [LibraryImport("libc")]
    public static partial uint geteuid();

    [LibraryImport("libc")]
    public static partial uint getegid();

    [LibraryImport("libc", SetLastError = true)]
    public static partial int setsid();

    [LibraryImport("libc", SetLastError = true)]
    public static partial int dup2(int from, int to);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint signal(int signal, nint handler);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int kill(int pid, int signal);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int clock_gettime(int clock, out timespec time);

    [LibraryImport("libc")]
    public static partial void abort();

    [LibraryImport("libc", SetLastError = true)]
    private static partial int getrlimit(int resource, out rlimit limit);
#pragma warning restore CS1591

    /// <summary>The longest file that this process may write (ulimit -f); null without a limit.</summary>
    /// <returns>Bytes.</returns>
    public static ulong? FileSizeLimit()
    {
        const int RLIMIT_FSIZE = 1;
        return getrlimit(RLIMIT_FSIZE, out rlimit limit) == 0 && limit.rlim_cur != ulong.MaxValue ? limit.rlim_cur : null;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct rlimit
    {
        public ulong rlim_cur;
        public ulong rlim_max;
    }
}
