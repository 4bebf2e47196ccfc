using Ingot.Io;
using Microsoft.Extensions.Logging;

namespace Ingot;

/// <summary>How a <see cref="BlockDevice"/> is opened.</summary>
public sealed record BlockDeviceOptions
{
    /// <summary>The image format ("raw", "qcow2"); null to recognize it by its first bytes.</summary>
    public string? Format { get; init; }

    /// <summary>Opens for reading only. The default is for reading and writing.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>
    /// The image comes from a stranger: <see cref="Format"/> must be given, a backing or data file that it names is not opened, and its tables may
    /// claim little memory.
    /// </summary>
    public bool Untrusted { get; init; }

    /// <summary>Bypasses the page cache of the host.</summary>
    public bool DirectIO { get; init; }

    /// <summary>Takes no locks, so that another program may have the image open for writing. What is read may then be inconsistent.</summary>
    public bool ForceShare { get; init; }

    /// <summary>Ignores flushes: fast, and the image is lost after a crash of the host.</summary>
    public bool IgnoreFlush { get; init; }

    /// <summary>Queues of a vhost-user-blk device.</summary>
    public int QueueCount { get; init; } = 1;

    /// <summary>Where to log; null for nowhere.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>The event loop to run on; stays owned by the caller. Null gives the device a loop and thread of its own.</summary>
    public EventLoop? Loop { get; init; }
}
