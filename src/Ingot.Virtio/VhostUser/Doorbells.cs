using Ingot.Linux;

namespace Ingot.Virtio.VhostUser;

/// <summary>The descriptors of a queue: eventfds as a rule, pipes or sockets from front-ends that have no eventfds.</summary>
/// <param name="Kick">Rung by the driver; null means to poll.</param>
/// <param name="Call">Rung by the device; null means that the driver polls.</param>
/// <param name="Error">Rung by the device when the ring is broken, or null.</param>
public readonly record struct Doorbells(FileDescriptor? Kick, FileDescriptor? Call, FileDescriptor? Error)
{
    /// <summary>Whether a doorbell is a stream, which fills up if nobody reads it; an eventfd only counts.</summary>
    /// <param name="bell">The doorbell.</param>
    /// <returns>True for a pipe or a socket.</returns>
    public static bool IsStream(FileDescriptor bell) => (Libc.Stat(bell.Value).Mode & Libc.S_IFMT) is Libc.S_IFIFO or Libc.S_IFSOCK;

    /// <summary>Empties a stream.</summary>
    /// <param name="bell">A non-blocking doorbell.</param>
    public static unsafe void Drain(FileDescriptor bell)
    {
        const int Chunk = 512;
        byte* buffer = stackalloc byte[Chunk];
        while (Libc.read(bell.Value, buffer, Chunk) == Chunk)
        {
        }
    }
}
