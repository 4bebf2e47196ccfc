using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Linux;

public sealed class UnixSocketTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("ingot").FullName;

    private string SocketPath => Path.Combine(_directory, "s");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Listener_RemovesItsPath()
    {
        using (UnixSocket listener = UnixSocket.Listen(SocketPath))
        {
            Assert.True(listener.IsListening);
            Assert.Null(listener.TryAccept());
            using UnixSocket client = UnixSocket.Connect(SocketPath);
            using UnixSocket? served = listener.TryAccept();
            Assert.NotNull(served);
            Assert.False(served.IsListening);
        }

        Assert.False(File.Exists(SocketPath));
    }

    [Fact]
    public void Listen_RefusesALiveSocket()
    {
        using UnixSocket listener = UnixSocket.Listen(SocketPath);
        ErrnoException error = Assert.Throws<ErrnoException>(() => UnixSocket.Listen(SocketPath));
        Assert.Equal(Errno.EADDRINUSE, error.Errno);
        Assert.Contains(SocketPath, error.Message);
    }

    [Fact]
    public void Listen_RefusesAFile()
    {
        File.WriteAllText(SocketPath, "mine");
        Assert.Equal(Errno.EEXIST, Assert.Throws<ErrnoException>(() => UnixSocket.Listen(SocketPath)).Errno);
        Assert.Equal("mine", File.ReadAllText(SocketPath));
    }

    [Fact]
    public void Listen_TakesOverADeadSocket()
    {
        UnixSocket dead = UnixSocket.Listen(SocketPath);
        dead.Descriptor.Dispose(); // as a killed server: closed, not removed
        dead.Dispose();
        Assert.True(Path.Exists(SocketPath));
        using UnixSocket listener = UnixSocket.Listen(SocketPath);
        using UnixSocket client = UnixSocket.Connect(SocketPath);
    }

    [Fact]
    public void TooLongPath_IsNamed()
        => Assert.Contains("107", Assert.Throws<ErrnoException>(() => UnixSocket.Connect("/" + new string('x', 200))).Message);

    [Fact]
    public void Descriptors_TravelWithTheFirstByte()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.CreatePair();
        using var bell = new EventFd();
        var received = new List<FileDescriptor>();
        Assert.Equal(-1, b.TryReceive(new byte[1], received));
        Assert.Equal(5, a.TrySend("hello"u8, [bell.Descriptor.Value, bell.Descriptor.Value]));
        var buffer = new byte[2];
        Assert.Equal(2, b.TryReceive(buffer, received));
        Assert.Equal("he"u8.ToArray(), buffer);
        Assert.Equal(2, received.Count);
        EventFd.Signal(received[1].Value);
        received.ForEach(d => d.Dispose());
        a.Dispose();
        Assert.Equal(2, b.TryReceive(buffer, received));
        Assert.Equal(1, b.TryReceive(buffer, received));
        Assert.Equal(0, b.TryReceive(buffer, received));
        b.Dispose();
    }
}
