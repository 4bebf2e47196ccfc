namespace Ingot.Cli;

/// <summary>
/// Standard output or error: never fails, as with stdio, but remembers that something was lost. Whether somebody reads along must not change what a command
/// does to an image; the end of the command is the place to tell.
/// </summary>
/// <param name="target">Where it goes; null when the process was started without the descriptor.</param>
internal sealed class OutputStream(Stream? target) : Stream
{
    private IOException? _failure = target is null ? new IOException("Could not write: the descriptor is closed") : null;
    private bool _isLost;

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

    /// <summary>Why output was lost; only the first call tells.</summary>
    /// <returns>The failure, or null when everything was written.</returns>
    public IOException? TakeFailure()
    {
        IOException? failure = _isLost ? _failure : null;
        _isLost = false;
        return failure;
    }

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        if (buffer.IsEmpty)
        {
            return;
        }

        try
        {
            if (_failure is null)
            {
                target!.Write(buffer);
                return;
            }
        }
        catch (IOException e)
        {
            _failure = e;
        }

        _isLost = true;
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
