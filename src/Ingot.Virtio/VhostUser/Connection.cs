using System.Buffers.Binary;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Virtio.VhostUser;

/// <summary>Framed messages with descriptors over a Unix socket. One receiver and one sender at a time, both on the loop that uses it.</summary>
/// <param name="socket">Connected; owned from here on.</param>
public sealed class VhostUserConnection(UnixSocket socket) : IDisposable
{
    /// <summary>The most descriptors that are taken with a message. None needs more than 8; a few too many are left for the message's handler to name.</summary>
    public const int MaxDescriptors = 16;

    private readonly byte[] _header = new byte[VhostUserMessage.HeaderSize];

    /// <summary>Waits for a message.</summary>
    /// <returns>The message, or null when the peer has closed the connection between two messages.</returns>
    /// <exception cref="ErrnoException">The connection broke, or what came is no message.</exception>
    public async IoTask<VhostUserMessage?> ReceiveAsync()
    {
        var descriptors = new List<FileDescriptor>();
        try
        {
            if (!await FillAsync(_header, descriptors, mayEnd: true))
            {
                return null;
            }

            VhostUserMessage message = ParseHeader(out byte[] payload);
            await FillAsync(payload, descriptors, mayEnd: false);
            message.Add(payload);
            message.Descriptors.AddRange(descriptors);
            descriptors.Clear();
            return message;
        }
        finally
        {
            descriptors.ForEach(d => d.Dispose());
        }
    }

    /// <summary>Sends a message and its descriptors, which stay open and owned by the caller.</summary>
    /// <param name="message">The message.</param>
    /// <returns>The task; fails when the peer has gone.</returns>
    public async IoTask SendAsync(VhostUserMessage message)
    {
        var bytes = new byte[VhostUserMessage.HeaderSize + message.Payload.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, message.Request);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4), (uint)message.Flags);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(8), message.Payload.Length);
        message.Payload.CopyTo(bytes.AsSpan(VhostUserMessage.HeaderSize));
        int[] descriptors = message.Descriptors.ConvertAll(d => d.Value).ToArray();
        for (int done = 0; done < bytes.Length;)
        {
            int sent = socket.TrySend(bytes.AsSpan(done), done == 0 ? descriptors : []);
            if (sent < 0)
            {
                await EventLoop.Current.Ring.PollAsync(socket.Descriptor, Libc.POLLOUT);
            }
            else
            {
                done += sent;
            }
        }
    }

    /// <summary>Ends the connection: whoever waits for a message gets the end of the stream.</summary>
    public void Shutdown() => socket.Shutdown();

    /// <summary>Closes the socket; nobody may be waiting on it.</summary>
    public void Dispose() => socket.Dispose();

    private async IoTask<bool> FillAsync(byte[] buffer, List<FileDescriptor> descriptors, bool mayEnd)
    {
        for (int done = 0; done < buffer.Length;)
        {
            int received = socket.TryReceive(buffer.AsSpan(done), descriptors);

            // Each byte could bring more of them, and the whole process has only so many.
            if (descriptors.Count > MaxDescriptors)
            {
                throw new ErrnoException(Errno.EPROTO, $"A vhost-user message came with more than {MaxDescriptors} file descriptors");
            }

            if (received > 0)
            {
                done += received;
            }
            else if (received < 0)
            {
                await EventLoop.Current.Ring.PollAsync(socket.Descriptor, Libc.POLLIN);
            }
            else if (mayEnd && done == 0)
            {
                return false;
            }
            else
            {
                throw new ErrnoException(Errno.ECONNRESET, "The vhost-user connection was closed within a message");
            }
        }

        return true;
    }

    private VhostUserMessage ParseHeader(out byte[] payload)
    {
        uint request = BinaryPrimitives.ReadUInt32LittleEndian(_header);
        var flags = (VhostUserFlags)BinaryPrimitives.ReadUInt32LittleEndian(_header.AsSpan(4));
        uint size = BinaryPrimitives.ReadUInt32LittleEndian(_header.AsSpan(8));
        if ((flags & VhostUserFlags.VersionMask) != VhostUserFlags.Version1)
        {
            throw new ErrnoException(Errno.EPROTO, $"vhost-user message {request}: version {(uint)(flags & VhostUserFlags.VersionMask)} in its flags, only 1 is known");
        }

        if (size > VhostUserMessage.MaxPayload)
        {
            throw new ErrnoException(Errno.EPROTO, $"vhost-user message {request}: size {size} is over the limit of {VhostUserMessage.MaxPayload}");
        }

        payload = size == 0 ? [] : new byte[size];
        return new VhostUserMessage(request, flags);
    }
}
