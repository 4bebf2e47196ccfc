using Ingot.Block;
using Ingot.Drivers.Filters;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.BlkVerify;

/// <summary>See <see cref="BlkVerifyDriver"/>. A difference is told, and fails the request.</summary>
internal sealed class BlkVerifyNode(string? nodeName, ChildNode raw, ChildNode test, bool writable) : BlockNode(nodeName)
{
    private readonly BlockNode[] _both = [test.Node, raw.Node];
    private bool _closed;

    public override string DriverName => "blkverify";

    public override long Length => test.Node.Length;

    public override BlockLimits Limits => test.Node.Limits with { RequestAlignment = Math.Max(test.Node.Limits.RequestAlignment, raw.Node.Limits.RequestAlignment) };

    public override BlockFeatures Features => writable && !test.Node.IsReadOnly && !raw.Node.IsReadOnly ? BlockFeatures.Write : BlockFeatures.None;

    public override IEnumerable<(string Role, BlockNode Node)> Children => [("test", test.Node), ("raw", raw.Node)];

    public override BlockNode File => raw.Node;

    public override string FileName => _both.All(child => !child.FileName.StartsWith("json:", StringComparison.Ordinal))
        ? $"blkverify:{raw.Node.FileName}:{test.Node.FileName}"
        : JsonName.Of(("driver", JsonText.Quote(DriverName)), ("raw", JsonText.Describe(raw.Node)), ("test", JsonText.Describe(test.Node)));

    /// <summary>Told what differs.</summary>
    internal Action<string>? Diverged { get; init; }

    public override async IoTask CloseAsync()
    {
        if (!_closed)
        {
            _closed = true;
            try
            {
                await test.CloseAsync();
            }
            finally
            {
                await raw.CloseAsync();
            }
        }
    }

    protected override async IoTask ReadCore(long offset, IoVector data)
    {
        IoBuffer copy = BufferPool.Local.Rent((int)data.Length);
        try
        {
            IoVector copied = copy.Slice(0, (int)data.Length);
            Check("read", offset, data.Length, await ChildRequest.StatusesAsync(_both, (child, index) => child.ReadAsync(offset, index == 0 ? data : copied)));
            long difference = ChildRequest.FirstDifference(data, copy.Span[..(int)data.Length]);
            if (difference >= 0)
            {
                throw Differ("read", offset, data.Length, $"contents mismatch at offset {offset + difference}");
            }
        }
        finally
        {
            BufferPool.Local.Return(copy);
        }
    }

    protected override async IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
        => Check("write", offset, data.Length, await ChildRequest.StatusesAsync(_both, (child, _) => child.WriteAsync(offset, data, flags)));

    // Only the image is worth keeping.
    protected override IoTask FlushCore() => test.Node.FlushAsync();

    protected override IoTask<Extent> GetExtentCore(long offset, long length) => ExtentOfCopyAsync(offset, length);

    private async IoTask<Extent> ExtentOfCopyAsync(long offset, long length)
    {
        long known = Math.Min(length, raw.Node.Length - offset);
        return known > 0 ? await raw.Node.GetExtentAsync(offset, known) : new Extent(offset, length, ExtentFlags.Data | ExtentFlags.Allocated);
    }

    private void Check(string what, long offset, long length, Errno[] statuses)
    {
        if (statuses[0] != statuses[1])
        {
            throw Differ(what, offset, length, $"return value mismatch {-(int)statuses[0]} != {-(int)statuses[1]}");
        }

        if (statuses[0] != Errno.None)
        {
            throw new ErrnoException(statuses[0], ErrnoException.Text(statuses[0]));
        }
    }

    private ErrnoException Differ(string what, long offset, long length, string how)
    {
        string message = $"blkverify: {what} offset={offset} bytes={length} {how}";
        Diverged?.Invoke(message);
        return new ErrnoException(Errno.EIO, message);
    }
}
