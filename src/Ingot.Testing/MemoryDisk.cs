using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Testing;

/// <summary>What a <see cref="MemoryDisk"/> was asked to do.</summary>
public enum DiskOperation
{
    /// <summary>A read.</summary>
    Read,

    /// <summary>A write, or zeroes.</summary>
    Write,

    /// <summary>A discard.</summary>
    Discard,

    /// <summary>A flush.</summary>
    Flush,

    /// <summary>A change of the size.</summary>
    Resize,
}

/// <summary>
/// A growing disk in memory for tests of formats. It fails the operation one asks for, takes its time in an order that a seed decides, and remembers
/// writes since the last flush, so that a test can look at any state that a power cut may leave behind.
/// </summary>
/// <param name="content">What it holds at first.</param>
/// <param name="seed">Decides how many turns each operation takes; null for none, everything completes at once.</param>
public sealed class MemoryDisk(byte[]? content = null, int? seed = null) : BlockNode(null)
{
    private readonly List<(long Offset, byte[] Bytes)> _unflushed = [];
    private readonly Random? _random = seed is null ? null : new Random(seed.Value);
    private byte[] _bytes = content ?? [];
    private long _length = content?.Length ?? 0;
    private byte[] _durable = content?.ToArray() ?? [];

    /// <inheritdoc/>
    public override string DriverName => "memory-disk";

    /// <inheritdoc/>
    public override string FileName => "memory-disk";

    /// <inheritdoc/>
    public override long Length => _length;

    /// <inheritdoc/>
    public override BlockFeatures Features => BlockFeatures.Write | BlockFeatures.FastZero | BlockFeatures.Discard | BlockFeatures.Fua | BlockFeatures.ZeroInitialized
        | BlockFeatures.Growable | BlockFeatures.Resize;

    /// <summary>Operations so far.</summary>
    public int Operations { get; private set; }

    /// <summary>What failing operations fail with.</summary>
    public Errno FailWith { get; set; } = Errno.EIO;

    /// <summary>True when a write that fails has written half of its bytes, to the end of a sector.</summary>
    public bool FailsHalfway { get; set; }

    /// <summary>The number of the operation that fails; 0 for none.</summary>
    public int FailAt { get; set; }

    /// <summary>True to fail all operations from <see cref="FailAt"/> on.</summary>
    public bool KeepsFailing { get; set; }

    /// <summary>Called before each operation with its kind, offset and length.</summary>
    public Action<DiskOperation, long, long>? Observer { get; set; }

    /// <summary>Number of closes.</summary>
    public int Closes { get; private set; }

    /// <summary>Whether writes since the last flush are kept for <see cref="AfterPowerCut"/>.</summary>
    public bool TracksDurability { get; set; }

    /// <summary>A copy of the content.</summary>
    public byte[] Snapshot() => _bytes.AsSpan(0, (int)_length).ToArray();

    /// <summary>What is there after a power cut: all that was flushed, and of the rest what a seed picks, in any order.</summary>
    /// <param name="pick">The seed.</param>
    /// <returns>The content.</returns>
    public byte[] AfterPowerCut(int pick)
    {
        var random = new Random(pick);
        byte[] state = _durable.ToArray();
        foreach ((long offset, byte[] bytes) in _unflushed.ToArray().OrderBy(_ => random.Next()).Where(_ => random.Next(2) == 0).ToArray())
        {
            if (state.Length < offset + bytes.Length)
            {
                Array.Resize(ref state, (int)(offset + bytes.Length));
            }

            bytes.CopyTo(state, offset);
        }

        return state;
    }

    /// <inheritdoc/>
    public override IoTask CloseAsync()
    {
        Closes++;
        return IoTask.Completed;
    }

    /// <inheritdoc/>
    protected override IoTask ReadCore(long offset, IoVector data)
        => _random is null && !Fails(DiskOperation.Read, offset, data.Length) ? Read(offset, data) : ReadLaterAsync(offset, data);

    /// <inheritdoc/>
    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
        => _random is null && !Fails(DiskOperation.Write, offset, data.Length) ? Write(offset, data) : WriteLaterAsync(offset, data);

    /// <inheritdoc/>
    protected override async IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        using var zeroes = IoBuffer.Zeroed((int)length);
        await WriteCore(offset, zeroes.Vector, WriteFlags.None);
    }

    /// <inheritdoc/>
    protected override async IoTask DiscardCore(long offset, long length)
    {
        // What was discarded reads as garbage: nobody may rely on it.
        await BeginAsync(DiskOperation.Discard, offset, length);
        using var garbage = new IoBuffer((int)length);
        garbage.Vector.Fill(0xdd);
        await Write(offset, garbage.Vector);
    }

    /// <inheritdoc/>
    protected override async IoTask FlushCore()
    {
        int covered = _unflushed.Count;
        await BeginAsync(DiskOperation.Flush, 0, 0);
        foreach ((long offset, byte[] bytes) in _unflushed.Take(covered))
        {
            if (_durable.Length < offset + bytes.Length)
            {
                Array.Resize(ref _durable, (int)(offset + bytes.Length));
            }

            bytes.CopyTo(_durable, offset);
        }

        _unflushed.RemoveRange(0, Math.Min(covered, _unflushed.Count));
    }

    /// <inheritdoc/>
    protected override async IoTask ResizeCore(long length, Preallocation preallocation)
    {
        await BeginAsync(DiskOperation.Resize, 0, length);
        Array.Resize(ref _bytes, (int)length);
        Array.Resize(ref _durable, (int)Math.Min(length, _durable.Length));
        _length = length;
        _unflushed.RemoveAll(w => w.Offset + w.Bytes.Length > length);
    }

    private bool Fails(DiskOperation operation, long offset, long length)
    {
        if (FailAt == 0 && Observer is null)
        {
            Operations++;
            return false;
        }

        Operations++;
        Observer?.Invoke(operation, offset, length);
        bool fails = FailAt != 0 && (KeepsFailing ? Operations >= FailAt : Operations == FailAt);
        _failsNow = fails;
        return fails;
    }

    private bool _failsNow;

    private async IoTask BeginAsync(DiskOperation operation, long offset, long length)
    {
        bool fails = Fails(operation, offset, length);
        await DelayAsync();
        ThrowIf(fails, operation, offset, length);
    }

    private async IoTask DelayAsync()
    {
        for (int turns = _random?.Next(4) ?? 0; turns > 0; turns--)
        {
            await EventLoop.Current.DelayAsync(TimeSpan.Zero);
        }
    }

    private void ThrowIf(bool fails, DiskOperation operation, long offset, long length)
    {
        if (fails)
        {
            throw new ErrnoException(FailWith, $"Injected failure of {operation} of {length} bytes at {offset}");
        }
    }

    private async IoTask ReadLaterAsync(long offset, IoVector data)
    {
        bool fails = _random is null ? _failsNow : Fails(DiskOperation.Read, offset, data.Length);
        await DelayAsync();
        ThrowIf(fails, DiskOperation.Read, offset, data.Length);
        await Read(offset, data);
    }

    private async IoTask WriteLaterAsync(long offset, IoVector data)
    {
        bool fails = _random is null ? _failsNow : Fails(DiskOperation.Write, offset, data.Length);
        await DelayAsync();
        long half = ((offset + (data.Length / 2)) & -512) - offset;
        if (fails && FailsHalfway && half > 0)
        {
            await Write(offset, data.Slice(0, half));
        }

        ThrowIf(fails, DiskOperation.Write, offset, data.Length);
        await Write(offset, data);
    }

    private IoTask Read(long offset, IoVector data)
    {
        data.CopyFrom(_bytes.AsSpan((int)offset, (int)data.Length));
        return IoTask.Completed;
    }

    private IoTask Write(long offset, IoVector data)
    {
        long end = offset + data.Length;
        if (end > _bytes.Length)
        {
            Array.Resize(ref _bytes, (int)Math.Max(end, _bytes.Length * 2L));
        }

        _length = Math.Max(_length, end);
        data.CopyTo(_bytes.AsSpan((int)offset, (int)data.Length));
        if (TracksDurability)
        {
            var copy = new byte[data.Length];
            data.CopyTo(copy);
            _unflushed.Add((offset, copy));
        }

        return IoTask.Completed;
    }
}
