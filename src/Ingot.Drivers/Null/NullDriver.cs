using Ingot.Block;
using Ingot.Drivers.Filters;
using Ingot.Io;

namespace Ingot.Drivers.Null;

/// <summary>Drivers "null-co" and "null-aio": a disk that stores nothing, for measuring everything else.</summary>
/// <param name="name">The driver's name.</param>
public sealed class NullDriver(string name) : BlockDriver
{
    private const long DefaultSize = 1L << 30;

    /// <inheritdoc/>
    public override string Name => name;

    /// <inheritdoc/>
    public override bool IsProtocol => true;

    /// <inheritdoc/>
    public override IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        OptionSet options = request.Options;
        options.TakeString("filename");
        (string? sizeText, string? zeroesText) = (options.Peek("size"), options.Peek("read-zeroes"));
        string fileName = sizeText is null && zeroesText is null ? $"{name}://"
            : JsonName.Of(("read-zeroes", QuoteOrNull(zeroesText)), ("driver", JsonText.Quote(name)), ("size", QuoteOrNull(sizeText)));
        long size = options.TakeSize("size") ?? DefaultSize;
        long latency = options.TakeNumber("latency-ns", 0) ?? 0;
        bool readZeroes = options.TakeBool("read-zeroes") ?? false;
        return new IoTask<BlockNode>(new NullNode(request.NodeName, name, size, TimeSpan.FromMicroseconds(latency / 1000.0), readZeroes, request.IsReadWrite, fileName));
    }

    private static string? QuoteOrNull(string? text) => text is null ? null : JsonText.Quote(text);
}

/// <summary>A disk that stores nothing. Reads leave the buffer as it is, or zero it.</summary>
internal sealed class NullNode(string? nodeName, string driverName, long length, TimeSpan latency, bool readZeroes, bool writable, string fileName) : BlockNode(nodeName)
{
    private long _length = length;

    public override string DriverName => driverName;

    public override long Length => _length;

    public override string FileName => fileName;

    public override BlockFeatures Features { get; } = BlockFeatures.AnyLoop | BlockFeatures.FastZero | BlockFeatures.Discard | BlockFeatures.Fua | BlockFeatures.Resize
        | (readZeroes ? BlockFeatures.ZeroInitialized : 0) | (writable ? BlockFeatures.Write : 0);

    public override IoTask<ImageInfo> GetInfoAsync() => new(new ImageInfo { ActualSize = 0 });

    protected override IoTask ReadCore(long offset, IoVector data)
    {
        if (readZeroes)
        {
            data.Clear();
        }

        return Wait();
    }

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags) => Wait();

    protected override IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags) => Wait();

    protected override IoTask DiscardCore(long offset, long length) => Wait();

    protected override IoTask FlushCore() => Wait();

    protected override IoTask<Extent> GetExtentCore(long offset, long length)
        => new(new Extent(offset, length, ExtentFlags.OffsetValid | ExtentFlags.Allocated | (readZeroes ? ExtentFlags.Zero : ExtentFlags.Data), offset, this));

    protected override IoTask ResizeCore(long length, Preallocation preallocation)
    {
        _length = length;
        return IoTask.Completed;
    }

    private IoTask Wait() => latency == TimeSpan.Zero ? IoTask.Completed : EventLoop.Current.DelayAsync(latency);
}
