namespace Ingot.Linux;

/// <summary>
/// Writes to a descriptor with write(2), as printf does: at the descriptor's own position, which other descriptors and processes may share. The runtime's
/// console streams would send escape sequences to a terminal first, and its file streams keep a position of their own.
/// </summary>
/// <param name="fd">Open for writing; stays owned by the caller.</param>
public sealed unsafe class DescriptorStream(int fd) : Stream
{
    /// <summary>A standard descriptor as the process got it from its parent.</summary>
    /// <param name="fd">1 or 2.</param>
    /// <returns>
    /// The stream; null when the process was started without the descriptor. A file of the process itself may have its number then, which must not be
    /// written to: nothing inherited has the flag close-on-exec, and everything opened here has it.
    /// </returns>
    public static DescriptorStream? Inherited(int fd) => Libc.fcntl(fd, Libc.F_GETFD, 0) == 0 ? new DescriptorStream(fd) : null;

    /// <inheritdoc/>
    public override bool CanRead => false;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        // SAFETY: the pin holds for the whole call, and no more than the span's length is handed to the kernel.
        fixed (byte* bytes = buffer)
        {
            for (int done = 0; done < buffer.Length;)
            {
                nint count = Libc.write(fd, bytes + done, (nuint)(buffer.Length - done));
                if (count >= 0)
                {
                    done += (int)count;
                    continue;
                }

                var errno = (Errno)System.Runtime.InteropServices.Marshal.GetLastPInvokeError();
                if (errno == Errno.EAGAIN)
                {
                    var wait = new Libc.pollfd { fd = fd, events = Libc.POLLOUT };
                    _ = Libc.poll(&wait, 1, -1);
                }
                else if (errno != Errno.EINTR)
                {
                    throw new IOException($"Could not write to file descriptor {fd}: {ErrnoException.Text(errno)}", (int)errno);
                }
            }
        }
    }

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();
}
