using System.Diagnostics;
using Ingot.Linux;

namespace Ingot.Rings.Lab;

/// <summary>Time as the lab measures it.</summary>
internal static class ThreadClock
{
    /// <summary>Nanoseconds of CPU that the calling thread has used.</summary>
    public static long CpuNanoseconds
    {
        get
        {
            return Libc.clock_gettime(Libc.CLOCK_THREAD_CPUTIME_ID, out Libc.timespec time) == 0
                ? (time.tv_sec * 1_000_000_000) + time.tv_nsec
                : throw ErrnoException.ForLastError("Could not read the thread's clock");
        }
    }

    /// <summary>Nanoseconds since some moment.</summary>
    public static long WallNanoseconds => (long)(Stopwatch.GetTimestamp() * (1e9 / Stopwatch.Frequency));
}
