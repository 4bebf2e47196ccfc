using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Tests.Exports;

/// <summary>A disk in an array, whose requests can be held back and completed in any order.</summary>
internal sealed class ArrayNode(byte[] data, BlockFeatures features = BlockFeatures.Write | BlockFeatures.Discard | BlockFeatures.FastZero) : BlockNode("array")
{
    private byte[] _data = data;

    public byte[] Data => _data;

    public override string DriverName => "array";

    public override long Length => _data.Length;

    public override BlockFeatures Features => features;

    /// <summary>While set, reads and writes wait in <see cref="Held"/>.</summary>
    public bool Holds { get; set; }

    public List<(Action Work, IoCompletionSource Source)> Held { get; } = [];

    public int Flushes { get; private set; }

    public List<string> Calls { get; } = [];

    public Errno NextError { get; set; }

    /// <summary>The loops that requests came on.</summary>
    public HashSet<EventLoop> Loops { get; } = [];

    /// <summary>What is known of a range; null: that all of it is data.</summary>
    public Func<long, long, Extent>? ExtentOf { get; set; }

    public void Release(int index)
    {
        (Action work, IoCompletionSource source) = Held[index];
        Held.RemoveAt(index);
        work();
        source.SetResult();
    }

    public void Resize(int length) => Array.Resize(ref _data, length);

    protected override IoTask ReadCore(long offset, IoVector vector) => Do(() => vector.CopyFrom(_data.AsSpan((int)offset, (int)vector.Length)));

    protected override IoTask WriteCore(long offset, IoVector vector, WriteFlags flags)
    {
        Calls.Add($"write {flags}");
        return Do(() => vector.CopyTo(_data.AsSpan((int)offset, (int)vector.Length)));
    }

    protected override IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        Calls.Add($"zero {offset} {length} {flags}");
        _data.AsSpan((int)offset, (int)length).Clear();
        return IoTask.Completed;
    }

    protected override IoTask DiscardCore(long offset, long length)
    {
        Calls.Add($"discard {offset} {length}");
        _data.AsSpan((int)offset, (int)length).Clear();
        return IoTask.Completed;
    }

    protected override IoTask FlushCore()
    {
        Loops.Add(EventLoop.Current);
        Flushes++;
        Calls.Add("flush");
        return IoTask.Completed;
    }

    protected override IoTask<Extent> GetExtentCore(long offset, long length)
        => ExtentOf is null ? base.GetExtentCore(offset, length) : new(ExtentOf(offset, length));

    private IoTask Do(Action work)
    {
        Loops.Add(EventLoop.Current);
        if (NextError != Errno.None)
        {
            Errno error = NextError;
            NextError = Errno.None;
            return IoTask.FromException(ErrnoException.For(error, "Injected"));
        }

        if (!Holds)
        {
            work();
            return IoTask.Completed;
        }

        var source = new IoCompletionSource();
        Held.Add((work, source));
        return source.Task;
    }
}
