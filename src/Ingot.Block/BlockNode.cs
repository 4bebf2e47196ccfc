using Ingot.Io;

namespace Ingot.Block;

/// <summary>
/// One layer of storage: a file, a format or a filter. Requests enter at a root, fall through nodes as plain calls and complete once.
/// The contract: a request is done whole or fails with an <c>ErrnoException</c> thrown by the source; what a node can't do is a missing bit in
/// <see cref="Features"/>, asked before; buffers belong to the caller until the task completes; a node may hand its child's task straight through.
/// Offsets and lengths are bytes. All members are called on the node's loop, or on any loop if <see cref="BlockFeatures.AnyLoop"/> is set.
/// </summary>
public abstract class BlockNode
{
    private static int _lastId;

    /// <summary>Creates a node.</summary>
    /// <param name="name">Its node name; empty or null for a generated one ("#block12").</param>
    protected BlockNode(string? name) => Name = string.IsNullOrEmpty(name) ? $"#block{Interlocked.Increment(ref _lastId):d3}" : name;

    /// <summary>The node name, unique within a process.</summary>
    public string Name { get; }

    /// <summary>The driver's name: "file", "qcow2".</summary>
    public abstract string DriverName { get; }

    /// <summary>The virtual size in bytes; any number of bytes, not only whole sectors.</summary>
    public abstract long Length { get; }

    /// <summary>What requests must look like to be served without help.</summary>
    public virtual BlockLimits Limits => BlockLimits.Default;

    /// <summary>What the node can do.</summary>
    public abstract BlockFeatures Features { get; }

    /// <summary>True when writes are refused.</summary>
    public bool IsReadOnly => (Features & BlockFeatures.Write) == 0;

    /// <summary>True when discards of this node have no effect and zeroes keep their space (discard=ignore). Set once, before requests come.</summary>
    public bool IgnoresDiscard { get; set; }

    /// <summary>What becomes of writes whose data are all zeroes. Set once, before requests come.</summary>
    public ZeroDetection DetectZeroes { get; set; }

    /// <summary>
    /// The loop that requests run on, once an export has chosen one with <see cref="Settle"/>; null for the loop that opened the node. Of no
    /// meaning with <see cref="BlockFeatures.AnyLoop"/>.
    /// </summary>
    public EventLoop? Home { get; private set; }

    /// <summary>True for a node whose own work is tied to the loop that opened it: it can't settle on another.</summary>
    public virtual bool IsTiedToLoop => false;

    /// <summary>Nodes directly below, with the role they play: "file", "backing".</summary>
    public virtual IEnumerable<(string Role, BlockNode Node)> Children => [];

    /// <summary>The node whose bytes this one stores its data in; null for leaves.</summary>
    public virtual BlockNode? File => null;

    /// <summary>The node that unallocated ranges are read from; null without one.</summary>
    public virtual BlockNode? Backing => null;

    /// <summary>The file name that a user would give to open this again; a json: name when there is none.</summary>
    public virtual string FileName => File is not { } file ? ""
        : file.FileName.StartsWith("json:", StringComparison.Ordinal) ? $"json:{{\"driver\": \"{DriverName}\", \"file\": {file.FileName["json:".Length..]}}}"
        : file.FileName;

    /// <summary>The file name that relative names in this image count from.</summary>
    public string BaseFileName => File is { } file ? file.BaseFileName : FileName;

    /// <summary>
    /// Chooses the loop that this node and all below it run on from now on. The first choice stays: nodes that share one with a settled node settle
    /// with it. Call it on the loop that opened the nodes, with no request in flight in those that have not settled.
    /// </summary>
    /// <param name="wish">The loop wanted; null for the one that opened the nodes.</param>
    /// <returns>The loop to send requests on.</returns>
    /// <exception cref="Linux.ErrnoException">EBUSY: nodes below have settled on different loops.</exception>
    public EventLoop Settle(EventLoop? wish)
    {
        BlockNode[] nodes = [.. Below().Distinct().Where(node => (node.Features & BlockFeatures.AnyLoop) == 0)];
        EventLoop[] homes = [.. nodes.Where(node => node.Home is not null).Select(node => node.Home!).Distinct()];
        bool isTied = nodes.Any(node => node.IsTiedToLoop);
        EventLoop home = homes.Length > 0 ? homes[0] : isTied || wish is null ? EventLoop.Current : wish;
        if (homes.Length > 1 || (isTied && home != EventLoop.Current))
        {
            throw new Linux.ErrnoException(Linux.Errno.EBUSY, $"Node '{Name}' uses nodes that are served by different iothreads");
        }

        Array.ForEach(nodes, node => node.Home = home);
        return home;
    }

    /// <summary>Reads the whole vector.</summary>
    /// <param name="offset">Bytes; offset and length within <see cref="Length"/>.</param>
    /// <param name="data">Where to put the bytes.</param>
    /// <returns>The task.</returns>
    public IoTask ReadAsync(long offset, IoVector data)
    {
        CheckRange(offset, data.Length);
        return ReadCore(offset, data);
    }

    /// <summary>Writes the whole vector.</summary>
    /// <param name="offset">Bytes; offset and length within <see cref="Length"/>.</param>
    /// <param name="data">The bytes.</param>
    /// <param name="flags">Durability.</param>
    /// <returns>The task.</returns>
    public IoTask WriteAsync(long offset, IoVector data, WriteFlags flags = WriteFlags.None)
    {
        CheckWriteRange(offset, data.Length);
        return DetectZeroes != ZeroDetection.Off && data.Length > 0 && data.IsZero()
            ? WriteZeroesAsync(offset, data.Length, ZeroFlagsFor(flags))
            : WriteCore(offset, data, flags);
    }

    /// <summary>Makes a range read as zeroes.</summary>
    /// <param name="offset">Bytes.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="flags">What the node may do to get there.</param>
    /// <returns>The task.</returns>
    public IoTask WriteZeroesAsync(long offset, long length, ZeroFlags flags = ZeroFlags.None)
    {
        CheckWriteRange(offset, length);
        return WriteZeroesCore(offset, length, IgnoresDiscard ? flags & ~ZeroFlags.MayUnmap : flags);
    }

    /// <summary>Says that the content of a range does not matter any more; what is read afterwards is undefined but not another disk's data.</summary>
    /// <param name="offset">Bytes.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The task.</returns>
    public IoTask DiscardAsync(long offset, long length)
    {
        CheckRange(offset, length);
        CheckWritable();
        return IgnoresDiscard ? IoTask.Completed : DiscardCore(offset, length);
    }

    /// <summary>Makes all writes that have completed durable.</summary>
    /// <returns>The task.</returns>
    public IoTask FlushAsync() => FlushCore();

    /// <summary>What a range holds. May answer for less than was asked, never for nothing.</summary>
    /// <param name="offset">Bytes.</param>
    /// <param name="length">Bytes, at least 1.</param>
    /// <returns>The first extent, starting at the offset.</returns>
    public IoTask<Extent> GetExtentAsync(long offset, long length)
    {
        CheckRange(offset, length);
        return GetExtentCore(offset, length);
    }

    /// <summary>Changes the virtual size. New bytes read as zeroes (or as the backing file's, never).</summary>
    /// <param name="length">The new size in bytes.</param>
    /// <param name="preallocation">How new bytes are backed.</param>
    /// <returns>The task.</returns>
    public IoTask ResizeAsync(long length, Preallocation preallocation = Preallocation.Off)
    {
        CheckWritable();
        return ResizeCore(length, preallocation);
    }

    /// <summary>Has the kernel copy from another node, so that the bytes do not pass through this process and may even be shared.</summary>
    /// <param name="offset">Where to; offset and length as for a write.</param>
    /// <param name="source">Where from: a node that an extent has named as the place of its bytes.</param>
    /// <param name="sourceOffset">Where in it.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>False when it can't be done; the range must then be written otherwise.</returns>
    public IoTask<bool> CopyRangeAsync(long offset, BlockNode source, long sourceOffset, long length)
    {
        CheckWriteRange(offset, length);
        return (Features & BlockFeatures.CopyRange) == 0 ? new IoTask<bool>(false) : CopyRangeCore(offset, source, sourceOffset, length);
    }

    /// <summary>Gives up all that this node stores itself, so that it reads as its backing node does. No other request may be in flight.</summary>
    /// <returns>The task.</returns>
    public virtual IoTask EmptyAsync()
        => IoTask.FromException(new Linux.ErrnoException(Linux.Errno.ENOTSUP, Linux.ErrnoException.Text(Linux.Errno.ENOTSUP)));

    /// <summary>Changes the name of the backing file that the image has stored. What this node reads as stays as it is until it is opened again.</summary>
    /// <param name="fileName">The name, absolute or relative to the image; null for none.</param>
    /// <param name="format">The backing file's format; null to have it probed.</param>
    /// <returns>The task.</returns>
    public virtual IoTask ChangeBackingAsync(string? fileName, string? format)
        => IoTask.FromException(new Linux.ErrnoException(Linux.Errno.ENOTSUP, Linux.ErrnoException.Text(Linux.Errno.ENOTSUP)));

    /// <summary>Reads a virtual machine's state that is kept beside the disk.</summary>
    /// <param name="offset">Bytes from its start.</param>
    /// <param name="data">Where to put the bytes.</param>
    /// <returns>The task.</returns>
    /// <exception cref="Linux.ErrnoException">EOPNOTSUPP: the format keeps none.</exception>
    public virtual IoTask ReadVmStateAsync(long offset, IoVector data) => IoTask.FromException(NoVmState());

    /// <summary>Writes a virtual machine's state beside the disk.</summary>
    /// <param name="offset">Bytes from its start.</param>
    /// <param name="data">The bytes.</param>
    /// <returns>The task.</returns>
    /// <exception cref="Linux.ErrnoException">EOPNOTSUPP: the format keeps none.</exception>
    public virtual IoTask WriteVmStateAsync(long offset, IoVector data) => IoTask.FromException(NoVmState());

    /// <summary>Writes what is held back, marks the image clean, and closes this node and the children it owns. Idempotent.</summary>
    /// <returns>The task.</returns>
    public virtual IoTask CloseAsync() => IoTask.Completed;

    /// <summary>Facts for `info`.</summary>
    /// <returns>The facts.</returns>
    public virtual IoTask<ImageInfo> GetInfoAsync() => new(new ImageInfo());

    private Linux.ErrnoException NoVmState() => Linux.ErrnoException.For(Linux.Errno.EOPNOTSUPP, $"Node '{Name}' keeps no VM state");

    private ZeroFlags ZeroFlagsFor(WriteFlags flags)
        => ((flags & WriteFlags.Fua) != 0 ? ZeroFlags.Fua : ZeroFlags.None) | (DetectZeroes == ZeroDetection.Unmap ? ZeroFlags.MayUnmap : ZeroFlags.None);

    private IEnumerable<BlockNode> Below() => Children.SelectMany(child => child.Node.Below()).Prepend(this);

    /// <summary>See <see cref="ReadAsync"/>.</summary>
    /// <param name="offset">Bytes, checked.</param>
    /// <param name="data">Where to put the bytes.</param>
    /// <returns>The task.</returns>
    protected abstract IoTask ReadCore(long offset, IoVector data);

    /// <summary>See <see cref="WriteAsync"/>.</summary>
    /// <param name="offset">Bytes, checked.</param>
    /// <param name="data">The bytes.</param>
    /// <param name="flags">Durability.</param>
    /// <returns>The task.</returns>
    protected abstract IoTask WriteCore(long offset, IoVector data, WriteFlags flags);

    /// <summary>See <see cref="WriteZeroesAsync"/>. The base class writes zeroes from a buffer, unless <see cref="ZeroFlags.NoFallback"/> forbids it.</summary>
    /// <param name="offset">Bytes, checked.</param>
    /// <param name="length">Bytes, checked.</param>
    /// <param name="flags">What the node may do.</param>
    /// <returns>The task.</returns>
    protected virtual IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags) => ZeroWriter.WriteAsync(this, offset, length, flags);

    /// <summary>See <see cref="DiscardAsync"/>. The base class ignores the hint.</summary>
    /// <param name="offset">Bytes, checked.</param>
    /// <param name="length">Bytes, checked.</param>
    /// <returns>The task.</returns>
    protected virtual IoTask DiscardCore(long offset, long length) => IoTask.Completed;

    /// <summary>See <see cref="FlushAsync"/>.</summary>
    /// <returns>The task.</returns>
    protected abstract IoTask FlushCore();

    /// <summary>See <see cref="GetExtentAsync"/>. The base class calls everything data.</summary>
    /// <param name="offset">Bytes, checked.</param>
    /// <param name="length">Bytes, checked.</param>
    /// <returns>The extent.</returns>
    protected virtual IoTask<Extent> GetExtentCore(long offset, long length) => new(new Extent(offset, length, ExtentFlags.Data | ExtentFlags.Allocated));

    /// <summary>See <see cref="ResizeAsync"/>. The base class refuses.</summary>
    /// <param name="length">The new size in bytes.</param>
    /// <param name="preallocation">How new bytes are backed.</param>
    /// <returns>The task.</returns>
    protected virtual IoTask ResizeCore(long length, Preallocation preallocation)
        => IoTask.FromException(new Linux.ErrnoException(Linux.Errno.ENOTSUP, "Image format driver does not support resize"));

    /// <summary>See <see cref="CopyRangeAsync"/>. The base class can't.</summary>
    /// <param name="offset">Bytes, checked.</param>
    /// <param name="source">Where from.</param>
    /// <param name="sourceOffset">Where in it.</param>
    /// <param name="length">Bytes, checked.</param>
    /// <returns>Whether it was done.</returns>
    protected virtual IoTask<bool> CopyRangeCore(long offset, BlockNode source, long sourceOffset, long length) => new(false);

    // Exports and roots check what a peer asks for; a bad range here is a defect of ours, so it must not reach a file.
    private void CheckRange(long offset, long length)
    {
        if ((ulong)offset > (ulong)Length || (ulong)length > (ulong)(Length - offset))
        {
            ThrowRange(offset, length);
        }
    }

    private void CheckWriteRange(long offset, long length)
    {
        if ((Features & BlockFeatures.Growable) == 0 || (ulong)offset > long.MaxValue - (ulong)length)
        {
            CheckRange(offset, length);
        }

        CheckWritable();
    }

    private void ThrowRange(long offset, long length)
        => throw new Linux.ErrnoException(Linux.Errno.EINVAL, $"Request for {length} bytes at offset {offset} is outside of node '{Name}' ({Length} bytes)");

    private void CheckWritable()
    {
        if (IsReadOnly)
        {
            throw new Linux.ErrnoException(Linux.Errno.EPERM, $"Node '{Name}' is read-only");
        }
    }
}
