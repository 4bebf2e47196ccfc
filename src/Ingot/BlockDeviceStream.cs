namespace Ingot;

/// <summary>A <see cref="BlockDevice"/> as a stream. One user at a time, as streams are.</summary>
internal sealed class BlockDeviceStream(BlockDevice device) : Stream
{
    private long _position;

    public override bool CanRead => true;

    public override bool CanSeek => true;

    public override bool CanWrite => !device.IsReadOnly;

    public override long Length => device.Length;

    public override long Position
    {
        get => _position;
        set
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            _position = value;
        }
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int count = Available(buffer.Length);
        await device.ReadAsync(Math.Min(_position, Length), buffer[..count], cancellationToken).ConfigureAwait(false);
        _position += count;
        return count;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken)
        => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count)
    {
        ValidateBufferArguments(buffer, offset, count);
        count = Available(count);
        Wait(device.Transfer(BlockRequestKind.Read, Math.Min(_position, Length), buffer.AsMemory(offset, count), 0, true, default));
        _position += count;
        return count;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        CheckRoom(buffer.Length);
        await device.WriteAsync(_position, buffer, cancellationToken).ConfigureAwait(false);
        _position += buffer.Length;
    }

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken)
        => WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override void Write(byte[] buffer, int offset, int count)
    {
        ValidateBufferArguments(buffer, offset, count);
        CheckRoom(count);
        Wait(device.Transfer(BlockRequestKind.Write, _position, buffer.AsMemory(offset, count), 0, true, default));
        _position += count;
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => device.FlushAsync(cancellationToken).AsTask();

    public override void Flush() => Wait(device.FlushAsync());

    public override long Seek(long offset, SeekOrigin origin) => Position = origin switch
    {
        SeekOrigin.Begin => offset,
        SeekOrigin.Current => _position + offset,
        SeekOrigin.End => Length + offset,
        _ => throw new ArgumentOutOfRangeException(nameof(origin)),
    };

    public override void SetLength(long value) => Wait(device.ResizeAsync(value));

    protected override void Dispose(bool disposing)
    {
        if (disposing && CanWrite)
        {
            Flush();
        }

        base.Dispose(disposing);
    }

    public override async ValueTask DisposeAsync()
    {
        if (CanWrite)
        {
            await device.FlushAsync().ConfigureAwait(false);
        }

        GC.SuppressFinalize(this);
    }

    private static void Wait(ValueTask task) => task.AsTask().GetAwaiter().GetResult();

    private int Available(int wanted) => (int)Math.Clamp(Length - _position, 0, wanted);

    private void CheckRoom(int count)
    {
        if (!CanWrite)
        {
            throw new NotSupportedException($"'{device.Name}' is open for reading only.");
        }

        if (count > Length - _position)
        {
            throw new IOException($"The end of '{device.Name}' is at {Length} bytes; {count} bytes at {_position} do not fit.");
        }
    }
}
