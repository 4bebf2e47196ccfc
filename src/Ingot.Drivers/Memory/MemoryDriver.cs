using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Memory;

/// <summary>Driver "memory": a RAM disk. Its content ends with the process; only what was written takes memory.</summary>
public sealed class MemoryDriver : BlockDriver
{
    /// <inheritdoc/>
    public override string Name => "memory";

    /// <inheritdoc/>
    public override bool IsProtocol => true;

    /// <inheritdoc/>
    public override IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        long size = request.Options.TakeSize("size") ?? throw new OptionException("Parameter 'size' is missing for driver 'memory'");
        return new IoTask<BlockNode>(new MemoryNode(request.NodeName, size, request.IsReadWrite));
    }
}

/// <summary>A RAM disk. Requests that overlap in time may see each other's bytes in any mixture, as on hardware.</summary>
internal sealed class MemoryNode(string? nodeName, long length, bool writable) : BlockNode(nodeName)
{
    private readonly AnonymousMemory _memory = new(length);

    public override string DriverName => "memory";

    public override long Length => _memory.Length;

    public override string FileName => $"json:{{\"driver\": \"memory\", \"size\": {Length}}}";

    public override BlockFeatures Features { get; } = BlockFeatures.AnyLoop | BlockFeatures.FastZero | BlockFeatures.Discard | BlockFeatures.Fua | BlockFeatures.ZeroInitialized
        | (writable ? BlockFeatures.Write : 0);

    public override IoTask CloseAsync()
    {
        _memory.Dispose();
        return IoTask.Completed;
    }

    protected override IoTask ReadCore(long offset, IoVector data)
    {
        data.CopyFrom(_memory.Slice(offset, data.Length));
        return IoTask.Completed;
    }

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        _memory.Slice(offset, data.Length).CopyFrom(data);
        return IoTask.Completed;
    }

    protected override IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags) => Release(offset, length);

    protected override IoTask DiscardCore(long offset, long length) => Release(offset, length);

    protected override IoTask FlushCore() => IoTask.Completed;

    private IoTask Release(long offset, long length)
    {
        _memory.Release(offset, length);
        return IoTask.Completed;
    }
}
