using Ingot.Block;
using Ingot.Drivers.Filters;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Preallocate;

/// <summary>
/// See <see cref="PreallocateDriver"/>. The file is longer than this node while it is open; closing cuts off what was not used. A file that can't be
/// given zeroes without writing them just grows.
/// </summary>
internal sealed class PreallocateNode(string? nodeName, ChildNode file, bool writable, long align, long size) : FilterNode(nodeName, file, writable)
{
    private readonly LoopMutex _growing = new();
    private long _dataEnd = -1; // where this node ends, once it has grown
    private long _fileEnd; // where the file ends, which zeroes fill behind the data
    private bool _canZero = true;

    public override string DriverName => "preallocate";

    public override long Length => _dataEnd >= 0 ? _dataEnd : Child.Length;

    protected override IoTask FinishAsync() => IsReadOnly ? IoTask.Completed : CutAsync();

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
        => offset + data.Length <= Length ? Child.WriteAsync(offset, data, flags) : GrowAndWriteAsync(offset, data, flags);

    protected override async IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        if (offset + length > Length)
        {
            await GrowAsync(offset + length);
        }

        await Child.WriteZeroesAsync(offset, length, flags);
    }

    protected override async IoTask ResizeCore(long length, Preallocation preallocation)
    {
        await _growing.LockAsync();
        try
        {
            if (preallocation != Preallocation.Falloc || _dataEnd < 0 || length <= _dataEnd || length > _fileEnd)
            {
                await CutAsync();
                await Child.ResizeAsync(length, preallocation);
                _fileEnd = length;
            }

            _dataEnd = length;
        }
        finally
        {
            _growing.Unlock();
        }
    }

    private async IoTask GrowAndWriteAsync(long offset, IoVector data, WriteFlags flags)
    {
        await GrowAsync(offset + data.Length);
        await Child.WriteAsync(offset, data, flags);
    }

    private async IoTask GrowAsync(long end)
    {
        await _growing.LockAsync();
        try
        {
            if (_dataEnd < 0)
            {
                _dataEnd = _fileEnd = Child.Length;
            }

            if (end > _fileEnd && _canZero)
            {
                await ExtendAsync((end + size + align - 1) / align * align);
            }

            _dataEnd = Math.Max(_dataEnd, end);
            _fileEnd = Math.Max(_fileEnd, end);
        }
        finally
        {
            _growing.Unlock();
        }
    }

    private async IoTask ExtendAsync(long end)
    {
        int alignment = Math.Max(Child.Limits.RequestAlignment, 1);
        long start = (_fileEnd + alignment - 1) / alignment * alignment;
        Errno status = await Child.WriteZeroesAsync(start, end - start, ZeroFlags.NoFallback).Status();
        _canZero = status == Errno.None;
        _fileEnd = _canZero ? end : Math.Max(_fileEnd, Child.Length);
    }

    private async IoTask CutAsync()
    {
        if (_dataEnd >= 0 && _fileEnd > _dataEnd)
        {
            await Child.ResizeAsync(_dataEnd);
            _fileEnd = _dataEnd;
        }
    }
}
