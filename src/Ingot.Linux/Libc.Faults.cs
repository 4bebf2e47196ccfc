using System.Runtime.InteropServices;

namespace Ingot.Linux;

public static unsafe partial class Libc
{
#pragma warning disable CS1591 // The manual page of the same name is the documentation.
    internal const int SA_SIGINFO = 4, SA_ONSTACK = 0x08000000, SA_RESTART = 0x10000000;

    /// <summary>struct sigaction of the C library on 64-bit machines.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct sigaction_t
    {
        public void* handler;
        public fixed ulong mask[16];
        public int flags;
        public void* restorer;
    }

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int sigaction(int signal, sigaction_t* action, sigaction_t* old);
#pragma warning restore CS1591
}
