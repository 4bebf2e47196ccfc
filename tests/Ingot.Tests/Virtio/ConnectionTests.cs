using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.VhostUser;
using Xunit;

namespace Ingot.Tests.Virtio;

public class ConnectionTests
{
    [Fact]
    public void Messages_ArriveWholeWithTheirDescriptors() => EventLoop.RunMain(async () =>
    {
        (UnixSocket first, UnixSocket second) = UnixSocket.CreatePair();
        using var a = new VhostUserConnection(first);
        using var b = new VhostUserConnection(second);
        using var bell = new EventFd();
        IoTask<VhostUserMessage?> waiting = b.ReceiveAsync();
        var sent = new VhostUserMessage(VhostUserRequest.SetVringKick, VhostUserFlags.NeedReply);
        sent.Add(7UL).Descriptors.Add(bell.Descriptor);
        await a.SendAsync(sent);
        using VhostUserMessage? got = await waiting;
        Assert.NotNull(got);
        Assert.Equal((uint)VhostUserRequest.SetVringKick, got.Request);
        Assert.Equal(VhostUserFlags.NeedReply | VhostUserFlags.Version1, got.Flags);
        Assert.Equal(7UL, got.Read<ulong>());
        using FileDescriptor? descriptor = got.TakeDescriptor();
        Assert.NotNull(descriptor);
        Assert.Throws<ErrnoException>(() => got.Read<VringAddress>());
        a.Shutdown();
        Assert.Null(await b.ReceiveAsync());
        return 0;
    });

    [Theory]
    [InlineData(new byte[] { 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0 }, "version 2")]
    [InlineData(new byte[] { 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1 }, "size 16777216")]
    [InlineData(new byte[] { 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0 }, "within a message")]
    [InlineData(new byte[] { 1, 0 }, "within a message")]
    public void Nonsense_IsNamed(byte[] bytes, string expected) => EventLoop.RunMain(async () =>
    {
        (UnixSocket first, UnixSocket second) = UnixSocket.CreatePair();
        using var b = new VhostUserConnection(second);
        first.TrySend(bytes);
        first.Dispose();
        string message = "";
        try
        {
            await b.ReceiveAsync();
        }
        catch (ErrnoException e)
        {
            message = e.Message;
        }

        Assert.Contains(expected, message);
        return 0;
    });

    [Fact]
    public void DescriptorsOfOneMessage_AreLimited() => EventLoop.RunMain(async () =>
    {
        (UnixSocket first, UnixSocket second) = UnixSocket.CreatePair();
        using var b = new VhostUserConnection(second);
        using var bell = new EventFd();
        int[] eight = [.. Enumerable.Repeat(bell.Descriptor.Value, 8)];
        first.TrySend([3, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0, 0], eight);
        first.TrySend([1], eight);
        first.TrySend([2], eight);
        ErrnoException? error = null;
        try
        {
            await b.ReceiveAsync();
        }
        catch (ErrnoException e)
        {
            error = e;
        }

        first.Dispose();
        Assert.Contains("more than 16 file descriptors", error?.Message);
        return 0;
    });
}
