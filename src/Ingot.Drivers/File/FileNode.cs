using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.File;

/// <summary>A regular file or a block device: where requests become ring operations. Any loop may use it, each with its own ring.</summary>
internal sealed class FileNode : BlockNode
{
    private const int Sector = 512;

    private readonly FileDescriptor _fd;
    private readonly FileDescriptor? _locks; // the same file, opened once more
    private readonly OpenFlags _flags;
    private readonly bool _threads;
    private readonly bool _isDevice;
    private readonly bool _isInMemory;
    private readonly DirectAccess? _direct;
    private long _length;
    private bool _canPunch = true;
    private bool _canZeroRange = true;
    private Errno _flushError;

    internal FileNode(string? nodeName, string driverName, string fileName, FileDescriptor fd, FileDescriptor? locks, long length, OpenFlags flags, bool threads)
        : base(nodeName)
    {
        DriverName = driverName;
        FileName = BlockGraph.HasProtocol(fileName) ? $"./{fileName}" : fileName;
        _fd = fd;
        _locks = locks;
        fd.Name = FileName;
        _flags = flags;
        _threads = threads;
        _isDevice = driverName != "file";
        _isInMemory = !threads && Libc.IsInMemory(fd.Value);
        _length = length;
        _direct = (flags & OpenFlags.Direct) != 0 ? new DirectAccess(this, fd, _isDevice) : null;
        Features = BlockFeatures.FastZero | BlockFeatures.Discard | BlockFeatures.Fua | BlockFeatures.CopyRange | (_isDevice ? 0 : BlockFeatures.ZeroInitialized)
            | ((flags & OpenFlags.ReadWrite) != 0 ? BlockFeatures.Write | (_isDevice ? 0 : BlockFeatures.Growable | BlockFeatures.Resize) : 0)
            | (_direct is { NeedsLocks: true } ? 0 : BlockFeatures.AnyLoop);
    }

    public override string DriverName { get; }

    public override string FileName { get; }

    // Whole sectors, as every user of disks expects: the last one of an odd file reads as padded with zeroes.
    public override long Length => (Volatile.Read(ref _length) + Sector - 1) / Sector * Sector;

    public override BlockFeatures Features { get; }

    public override BlockLimits Limits => _direct?.Limits ?? BlockLimits.Default;

    private IoRing Ring => _threads ? EventLoop.Current.ThreadRing : EventLoop.Current.Ring;

    public override IoTask CloseAsync()
    {
        if (!_fd.IsClosed)
        {
            ImageLocks.Release(_locks ?? _fd);
            _locks?.Dispose();
            _fd.Dispose();
        }

        return IoTask.Completed;
    }

    public override IoTask<ImageInfo> GetInfoAsync() => new(new ImageInfo { ActualSize = Libc.Stat(_fd.Value).Blocks * Sector });

    /// <summary>A read that O_DIRECT accepts as it is.</summary>
    internal IoTask ReadPlainAsync(long offset, IoVector data)
    {
        IoRing ring = Ring;
        return _isInMemory && ring.TryReadNow(_fd, offset, data) ? IoTask.Completed : ring.ReadAsync(_fd, offset, data, _direct is not null);
    }

    /// <summary>A write that O_DIRECT accepts as it is.</summary>
    internal IoTask WritePlainAsync(long offset, IoVector data, WriteFlags flags)
    {
        NoteEnd(offset + data.Length);
        IoRing ring = Ring;
        bool isDurable = (flags & WriteFlags.Fua) != 0 || (_flags & OpenFlags.WriteThrough) != 0;
        return _isInMemory && !isDurable && ring.TryWriteNow(_fd, offset, data) ? IoTask.Completed : ring.WriteAsync(_fd, offset, data, isDurable);
    }

    protected override IoTask ReadCore(long offset, IoVector data)
        => _direct is null || _direct.Accepts(offset, data) ? ReadPlainAsync(offset, data) : _direct.ReadAsync(offset, data);

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
        => _direct is null || _direct.AcceptsWrite(offset, data) ? WritePlainAsync(offset, data, flags) : _direct.WriteAsync(offset, data, flags);

    protected override IoTask FlushCore()
    {
        if ((_flags & (OpenFlags.NoFlush | OpenFlags.ReadWrite)) != OpenFlags.ReadWrite)
        {
            return IoTask.Completed;
        }

        return FlushSlowAsync();
    }

    protected override async IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        if (await TryZeroAsync(offset, length, (flags & ZeroFlags.MayUnmap) != 0))
        {
            if ((flags & ZeroFlags.Fua) != 0 || (_flags & OpenFlags.WriteThrough) != 0)
            {
                await FlushCore();
            }

            return;
        }

        await base.WriteZeroesCore(offset, length, flags);
    }

    protected override async IoTask DiscardCore(long offset, long length)
    {
        if (_canPunch && length > 0)
        {
            using RangeLock.Held? held = _direct is { NeedsLocks: true } ? await _direct.LockAsync(offset, length) : null;
            Errno errno = await Ring.AllocateAsync(_fd, Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE, offset, length).Status();
            if (!IsUnsupported(errno))
            {
                ThrowIfFailed(errno, "Discarding", offset, length);
                return;
            }

            _canPunch = false;
        }
    }

    protected override IoTask<Extent> GetExtentCore(long offset, long length)
    {
        (long found, bool isData) = _isDevice ? (length, true) : FileSpace.ExtentAt(_fd, offset, length);
        if (Limits.RequestAlignment > 1)
        {
            (found, isData) = InBlocks(offset, length, found, isData);
        }

        ExtentFlags kind = isData ? ExtentFlags.Data : ExtentFlags.Zero;
        return new IoTask<Extent>(new Extent(offset, found, kind | ExtentFlags.Allocated | ExtentFlags.OffsetValid, offset, this));
    }

    protected override IoTask<bool> CopyRangeCore(long offset, BlockNode source, long sourceOffset, long length)
        => source is FileNode other && (_flags & OpenFlags.WriteThrough) == 0 && _direct is null ? CopyFromAsync(offset, other, sourceOffset, length) : new IoTask<bool>(false);

    protected override async IoTask ResizeCore(long length, Preallocation preallocation)
    {
        if (_isDevice)
        {
            long has = BlockDeviceControl.Size(_fd, FileName);
            Volatile.Write(ref _length, has >= length ? has : throw new ErrnoException(Errno.EINVAL, $"Cannot grow device '{FileName}' of {has} bytes to {length}"));
            return;
        }

        await FileSpace.ResizeAsync(_fd, FileName, Volatile.Read(ref _length), length, preallocation);
        Volatile.Write(ref _length, length);
    }

    private async IoTask<bool> CopyFromAsync(long offset, FileNode source, long sourceOffset, long length)
    {
        Errno errno = await Offload.Run(() => Libc.CopyRange(source._fd.Value, sourceOffset, _fd.Value, offset, length));
        if (IsUnsupported(errno) || errno == Errno.EXDEV)
        {
            return false;
        }

        ThrowIfFailed(errno, "Copying", offset, length);
        NoteEnd(offset + length);
        return true;
    }

    // A block that can only be read whole is data when a part of it is.
    private (long Found, bool IsData) InBlocks(long offset, long length, long found, bool isData)
    {
        long block = Limits.RequestAlignment;
        long end = (offset + found + (isData ? block - 1 : 0)) / block * block;
        if (end <= offset)
        {
            (end, isData) = ((offset / block * block) + block, true);
        }

        return (Math.Min(end - offset, length), isData || found == 0);
    }

    private async IoTask FlushSlowAsync()
    {
        // The kernel reports a lost page once and then calls it clean: after that, no flush of ours may claim success.
        Errno errno = _flushError != Errno.None ? _flushError : await Ring.SyncAsync(_fd).Status();
        if (errno != Errno.None)
        {
            _flushError = _direct is null ? errno : Errno.None;
            throw ErrnoException.For(errno, $"Flushing '{FileName}' to disk failed");
        }
    }

    private async IoTask<bool> TryZeroAsync(long offset, long length, bool mayUnmap)
    {
        if (length == 0)
        {
            return true;
        }

        await GrowForZeroesAsync(offset + length);
        using RangeLock.Held? held = _direct is { NeedsLocks: true } ? await _direct.LockAsync(offset, length) : null;
        const int punch = Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE;
        if (!mayUnmap && _canZeroRange)
        {
            Errno errno = await Ring.AllocateAsync(_fd, Libc.FALLOC_FL_ZERO_RANGE | Libc.FALLOC_FL_KEEP_SIZE, offset, length).Status();
            _canZeroRange = !IsUnsupported(errno);
            if (_canZeroRange)
            {
                ThrowIfFailed(errno, "Zeroing", offset, length);
                return true;
            }
        }

        if (!_canPunch)
        {
            return false;
        }

        Errno punched = await Ring.AllocateAsync(_fd, punch, offset, length).Status();
        _canPunch = !IsUnsupported(punched);
        if (!_canPunch)
        {
            return false;
        }

        ThrowIfFailed(punched, "Zeroing", offset, length);
        if (!mayUnmap && !_isDevice)
        {
            ThrowIfFailed(await Ring.AllocateAsync(_fd, Libc.FALLOC_FL_KEEP_SIZE, offset, length).Status(), "Allocating", offset, length);
        }

        return true;
    }

    // Not ftruncate: a write of another request may have made the file longer meanwhile. One byte, so that what shares its block stays.
    private async IoTask GrowForZeroesAsync(long end)
    {
        if (!_isDevice && end > Length)
        {
            using IoBuffer zero = IoBuffer.Zeroed(1);
            await WriteCore(end - 1, zero.Vector, WriteFlags.None);
        }
    }

    private void NoteEnd(long end)
    {
        long length = Volatile.Read(ref _length);
        while (end > length)
        {
            long seen = Interlocked.CompareExchange(ref _length, end, length);
            if (seen == length)
            {
                break;
            }

            length = seen;
        }
    }

    private static bool IsUnsupported(Errno errno) => errno is Errno.EOPNOTSUPP or Errno.ENOSYS or Errno.EINVAL or Errno.ENOTTY;

    private void ThrowIfFailed(Errno errno, string what, long offset, long length)
    {
        if (errno != Errno.None)
        {
            throw ErrnoException.For(errno, $"{what} {length} bytes at offset {offset} of '{FileName}' failed");
        }
    }
}
