using Ingot.Io;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Io;

/// <summary>What a failed request says: what was done, where, to which file.</summary>
public class RingErrorTests
{
    [Theory]
    [InlineData(IoEngine.Auto)]
    [InlineData(IoEngine.Threads)]
    public void Failures_name_the_file_and_the_place(IoEngine engine) => EventLoop.RunMain(
        async () =>
        {
            using var nowhere = new FileDescriptor(Libc.open("/dev/null", Libc.O_RDONLY, 0)) { Name = "disk.raw" };
            using var data = new IoBuffer(512);
            IoRing ring = EventLoop.Current.Ring;
            ErrnoException write = await CatchAsync(ring.WriteAsync(nowhere, 1024, data.Vector));
            Assert.Equal((Errno.EBADF, "Writing 512 bytes at offset 1024 of 'disk.raw' failed: Bad file descriptor"), (write.Errno, write.Message));
            nowhere.Name = null;
            Assert.Equal("Writing 512 bytes at offset 0 failed: Bad file descriptor", (await CatchAsync(ring.WriteAsync(nowhere, 0, data.Vector))).Message);
            return 0;
        },
        EventLoopOptions.Default with { Engine = engine });

    private static async IoTask<ErrnoException> CatchAsync(IoTask task)
    {
        try
        {
            await task;
        }
        catch (ErrnoException e)
        {
            return e;
        }

        throw new InvalidOperationException("It did not fail.");
    }
}
