using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Tests.Drivers.Qcow2.Fuzz;

/// <summary>An image asked for more I/O than any honest one of its size needs.</summary>
internal sealed class RunawayException(string message) : Exception(message);

/// <summary>A disk in memory for hostile images: it grows to a limit, as a file system would let it, and counts operations.</summary>
internal sealed class BoundedDisk(byte[] content) : BlockNode(null)
{
    private const int MaxLength = 4 << 20;
    private const int MaxOperations = 50_000;

    private byte[] _bytes = content;
    private int _length = content.Length;
    private int _operations;

    public override string DriverName => "bounded";

    public override string FileName => "fuzzed";

    public override long Length => _length;

    public override BlockFeatures Features => BlockFeatures.Write | BlockFeatures.FastZero | BlockFeatures.Discard | BlockFeatures.ZeroInitialized
        | BlockFeatures.Growable | BlockFeatures.Resize;

    /// <summary>The content.</summary>
    internal ReadOnlySpan<byte> Bytes => _bytes.AsSpan(0, _length);

    protected override IoTask ReadCore(long offset, IoVector data)
    {
        Count();
        data.CopyFrom(_bytes.AsSpan((int)offset, (int)data.Length));
        return IoTask.Completed;
    }

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        Count();
        if (!Grow(offset + data.Length))
        {
            return TooLarge(offset + data.Length);
        }

        data.CopyTo(_bytes.AsSpan((int)offset, (int)data.Length));
        return IoTask.Completed;
    }

    protected override IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        Count();
        if (!Grow(offset + length))
        {
            return TooLarge(offset + length);
        }

        _bytes.AsSpan((int)offset, (int)length).Clear();
        return IoTask.Completed;
    }

    protected override IoTask DiscardCore(long offset, long length)
    {
        Count();
        return IoTask.Completed;
    }

    protected override IoTask FlushCore()
    {
        Count();
        return IoTask.Completed;
    }

    protected override IoTask ResizeCore(long length, Preallocation preallocation)
    {
        Count();
        if (length < _length)
        {
            _bytes.AsSpan((int)length, _length - (int)length).Clear();
            _length = (int)length;
            return IoTask.Completed;
        }

        return Grow(length) ? IoTask.Completed : TooLarge(length);
    }

    private static IoTask TooLarge(long length) => IoTask.FromException(new ErrnoException(Errno.EFBIG, $"'fuzzed' can't have {length} bytes"));

    private void Count()
    {
        if (++_operations > MaxOperations)
        {
            throw new RunawayException($"more than {MaxOperations} operations");
        }
    }

    private bool Grow(long length)
    {
        if (length > MaxLength)
        {
            return false;
        }

        if (length > _bytes.Length)
        {
            Array.Resize(ref _bytes, (int)Math.Min(MaxLength, Math.Max(length, _bytes.Length * 2L)));
        }

        _length = Math.Max(_length, (int)length);
        return true;
    }
}
