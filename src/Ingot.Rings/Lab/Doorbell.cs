using Ingot.Linux;

namespace Ingot.Rings.Lab;

/// <summary>How one side wakes the other.</summary>
/// <param name="fd">An eventfd, blocking or not.</param>
internal sealed unsafe class Doorbell(int fd)
{
    public void Ring() => EventFd.Signal(fd);

    /// <summary>Sleeps until it is rung, and forgets that it was.</summary>
    public void Wait()
    {
        var poll = new Libc.pollfd { fd = fd, events = Libc.POLLIN };
        // SAFETY: one entry, alive for the call. A signal that interrupts it is as good as a ring: who waits looks again.
        _ = Libc.poll(&poll, 1, -1);
        EventFd.Clear(fd);
    }
}
