namespace Ingot.Io;

/// <summary>Which engine a loop uses for I/O.</summary>
public enum IoEngine
{
    /// <summary>io_uring where the kernel permits it, else threads.</summary>
    Auto,

    /// <summary>io_uring, or an error.</summary>
    IoUring,

    /// <summary>Blocking calls on threads.</summary>
    Threads,
}

/// <summary>How a loop does I/O and how long it polls before it sleeps.</summary>
public sealed record EventLoopOptions
{
    private const long DefaultPollNanoseconds = 32_768;

    /// <summary>The defaults; the environment variables INGOT_AIO (threads or io_uring) and INGOT_POLL_NS set the engine and the longest spin.</summary>
    public static EventLoopOptions Default { get; } = new()
    {
        Engine = Environment.GetEnvironmentVariable("INGOT_AIO") switch
        {
            "threads" => IoEngine.Threads,
            "io_uring" => IoEngine.IoUring,
            _ => IoEngine.Auto,
        },
        MaxPollNanoseconds = uint.TryParse(Environment.GetEnvironmentVariable("INGOT_POLL_NS"), out uint nanoseconds) ? nanoseconds : DefaultPollNanoseconds,
    };

    /// <summary>The engine.</summary>
    public IoEngine Engine { get; init; } = IoEngine.Auto;

    /// <summary>The longest time in nanoseconds that a loop with pollers spins before it sleeps; 0 never spins.</summary>
    public long MaxPollNanoseconds { get; init; } = DefaultPollNanoseconds;

    /// <summary>How many of io_uring's newer features are left unused, as an older kernel would; for tests.</summary>
    internal int IoUringDowngrade { get; init; }

    internal IoRing CreateRing(EventLoop loop)
    {
        if (Engine == IoEngine.Threads)
        {
            return new ThreadPoolRing();
        }

        IoRing? ring = UringRing.TryCreate(loop, IoUringDowngrade);
        return ring ?? (Engine == IoEngine.Auto ? new ThreadPoolRing() : throw new NotSupportedException("io_uring is not available here (aio=io_uring); aio=threads works everywhere."));
    }
}
