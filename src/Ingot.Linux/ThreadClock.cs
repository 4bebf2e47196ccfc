namespace Ingot.Linux;

/// <summary>The processor's time of a thread.</summary>
public static class ThreadClock
{
    /// <summary>Nanoseconds of CPU that the calling thread has used.</summary>
    /// <exception cref="ErrnoException">The clock can't be read.</exception>
    public static long CpuNanoseconds
        => Libc.clock_gettime(Libc.CLOCK_THREAD_CPUTIME_ID, out Libc.timespec time) == 0
            ? (time.tv_sec * 1_000_000_000) + time.tv_nsec
            : throw ErrnoException.ForLastError("The processor time of a thread is not known");
}
