using Ingot.Block;
using Ingot.Drivers.File;
using Ingot.Drivers.Filters;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Raw;

/// <summary>Driver "raw": the bytes of the file below as they are, or a window of them (offset, size).</summary>
public sealed class RawDriver : BlockDriver
{
    private const int Sector = 512;

    /// <inheritdoc/>
    public override string Name => "raw";

    /// <inheritdoc/>
    public override IReadOnlyList<(string Name, string Help)> CreateOptions =>
    [
        ("size", "Virtual disk size"),
        ("preallocation", "Preallocation mode (allowed values: off, falloc, full)"),
    ];

    /// <summary>Anything can be raw: the weakest claim there is.</summary>
    /// <param name="head">Not looked at.</param>
    /// <returns>1.</returns>
    public override int Probe(ReadOnlySpan<byte> head) => 1;

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        (string? offsetText, string? sizeText) = (request.Options.Peek("offset"), request.Options.Peek("size"));
        long offset = request.Options.TakeSize("offset") ?? 0;
        long? size = request.Options.TakeSize("size");

        // The facts of a raw image stay what they are while somebody, such as a virtual machine, writes to it.
        bool mayShare = (request.Flags & (OpenFlags.NoIo | OpenFlags.ReadWrite)) == OpenFlags.NoIo;
        ChildNode file = await request.OpenChildAsync("file", mayShare ? request.Flags | OpenFlags.ForceShare : request.Flags) ?? throw new OptionException("A block device must be specified for \"file\"");
        try
        {
            string? name = offsetText is null && sizeText is null ? null
                : JsonName.Of(("offset", QuoteOrNull(offsetText)), ("driver", JsonText.Quote(Name)), ("size", QuoteOrNull(sizeText)), ("file", JsonText.Describe(file.Node)));
            return Create(request, file, offset, size, name);
        }
        catch
        {
            await file.CloseAsync();
            throw;
        }
    }

    /// <inheritdoc/>
    public override IoTask CreateAsync(CreateRequest request) => FileDriver.CreateDiskAsync(request);

    private static string? QuoteOrNull(string? text) => text is null ? null : JsonText.Quote(text);

    private static RawNode Create(OpenRequest request, ChildNode file, long offset, long? size, string? name)
    {
        long whole = file.Node.Length;
        if (offset > whole)
        {
            throw new OptionException($"Offset ({offset}) has to be smaller or equal to the actual size of the containing file ({whole})");
        }

        if (size is { } window && window > whole - offset)
        {
            throw new OptionException($"The sum of offset ({offset}) and size ({window}) has to be smaller or equal to the actual size of the containing file ({whole})");
        }

        if (size is { } odd && odd % Sector != 0)
        {
            throw new OptionException($"Specified size is not multiple of {Sector}");
        }

        return new RawNode(request.NodeName, file, offset, size, request.IsReadWrite) { IsProbed = request.ProbedFile is not null, WindowName = name };
    }
}

/// <summary>A window of the node below. Everything passes straight through.</summary>
internal sealed class RawNode : BlockNode
{
    private readonly ChildNode _file;
    private readonly long _offset;
    private readonly IEventSink? _events;
    private readonly bool _hasSize;
    private readonly bool _writable;
    private long _size;
    private bool _closed;

    internal RawNode(string? nodeName, ChildNode file, long offset, long? size, bool writable)
        : base(nodeName)
    {
        _file = file;
        _events = file.Node as IEventSink;
        _offset = offset;
        _hasSize = size is not null;
        _size = size ?? 0;
        _writable = writable;
    }

    public override string DriverName => "raw";

    public override long Length => _hasSize ? _size : _file.Node.Length - _offset;

    public override BlockLimits Limits => _file.Node.Limits;

    public override BlockFeatures Features
    {
        get
        {
            BlockFeatures features = _file.Node.Features;
            if (_hasSize)
            {
                features &= ~(BlockFeatures.Growable | BlockFeatures.Resize);
            }

            return _writable && !IsProbed ? features : _writable ? features & ~BlockFeatures.AnyLoop : features & ~BlockFeatures.Write;
        }
    }

    public override IEnumerable<(string Role, BlockNode Node)> Children => [("file", _file.Node)];

    public override BlockNode File => _file.Node;

    public override string FileName => WindowName ?? base.FileName;

    /// <summary>The file name of a window; null for the whole file.</summary>
    internal string? WindowName { get; init; }

    /// <summary>True when nobody said that the image is raw: a guest must then not be able to write the header of another format, which the next probe would follow.</summary>
    internal bool IsProbed { get; init; }

    public override IoTask<ImageInfo> GetInfoAsync() => _file.Node.GetInfoAsync();

    public override IoTask CloseAsync()
    {
        if (_closed)
        {
            return IoTask.Completed;
        }

        _closed = true;
        return _file.CloseAsync();
    }

    protected override IoTask ReadCore(long offset, IoVector data)
    {
        _events?.Signal(BlockEvents.ReadData);
        return _file.Node.ReadAsync(offset + _offset, data);
    }

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        _events?.Signal(BlockEvents.WriteData);
        return IsProbed && offset < BlockGraph.ProbeLength ? WriteHeadAsync(offset, data, flags) : _file.Node.WriteAsync(offset + _offset, data, flags & ~WriteFlags.Compressed);
    }

    protected override IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags) => _file.Node.WriteZeroesAsync(offset + _offset, length, flags);

    protected override IoTask DiscardCore(long offset, long length) => _file.Node.DiscardAsync(offset + _offset, length);

    protected override IoTask FlushCore() => _file.Node.FlushAsync();

    protected override async IoTask<Extent> GetExtentCore(long offset, long length)
    {
        // What lies below may have a backing file, which this node has not.
        Extent extent = _file.Node.Backing is null
            ? await _file.Node.GetExtentAsync(offset + _offset, length)
            : (await ExtentWalker.GetChainExtentAsync(_file.Node, offset + _offset, length)).Extent;
        return extent with { Offset = offset };
    }

    protected override IoTask<bool> CopyRangeCore(long offset, BlockNode source, long sourceOffset, long length)
        => IsProbed && offset < BlockGraph.ProbeLength ? new IoTask<bool>(false) : _file.Node.CopyRangeAsync(offset + _offset, source, sourceOffset, length);

    protected override IoTask ResizeCore(long length, Preallocation preallocation)
        => _hasSize
            ? IoTask.FromException(new ErrnoException(Errno.ENOTSUP, "Cannot resize fixed-size raw disks"))
            : _file.Node.ResizeAsync(length + _offset, preallocation);

    private async IoTask WriteHeadAsync(long offset, IoVector data, WriteFlags flags)
    {
        using var head = IoBuffer.Zeroed(BlockGraph.ProbeLength);
        int known = (int)Math.Min(Length, BlockGraph.ProbeLength);
        await _file.Node.ReadAsync(_offset, head.Slice(0, known));
        int changed = (int)Math.Min(data.Length, BlockGraph.ProbeLength - offset);
        data.CopyTo(head.Span.Slice((int)offset, changed));
        BlockDriver looksLike = BlockGraph.Probe(head.Span);
        if (looksLike is not RawDriver)
        {
            throw new ErrnoException(Errno.EPERM, $"Node '{Name}' was probed as raw; a write that makes it look like '{looksLike.Name}' is refused (give the format to allow it)");
        }

        await _file.Node.WriteAsync(offset + _offset, data, flags & ~WriteFlags.Compressed);
    }
}
