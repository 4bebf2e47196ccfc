using System.Globalization;
using System.Security.Cryptography;
using Ingot.Block;
using Ingot.Drivers.Filters;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Quorum;

/// <summary>See <see cref="QuorumDriver"/>.</summary>
internal sealed class QuorumNode(string? nodeName, IReadOnlyList<ChildNode> children, QuorumRules rules, bool writable) : BlockNode(nodeName)
{
    private const int MaxVote = 4 << 20;

    private readonly BlockNode[] _nodes = [.. children.Select(c => c.Node)];
    private bool _closed;

    public override string DriverName => "quorum";

    public override long Length => _nodes[0].Length;

    public override BlockLimits Limits => new() { RequestAlignment = _nodes.Max(n => n.Limits.RequestAlignment), OptimalTransfer = _nodes.Max(n => n.Limits.OptimalTransfer) };

    public override BlockFeatures Features
    {
        get
        {
            BlockFeatures features = BlockFeatures.Write | BlockFeatures.FastZero | BlockFeatures.ZeroInitialized;
            Array.ForEach(_nodes, node => features &= node.Features);
            return writable ? features : features & ~BlockFeatures.Write;
        }
    }

    // The newest first, as QEMU lists them.
    public override IEnumerable<(string Role, BlockNode Node)> Children
        => _nodes.Select((node, index) => (string.Create(CultureInfo.InvariantCulture, $"children.{index}"), node)).Reverse();

    public override string FileName => JsonName.Of(
        ("read-pattern", rules.IsFifo ? JsonText.Quote("fifo") : null),
        ("children", JsonName.List(_nodes)),
        ("driver", JsonText.Quote(DriverName)),
        ("rewrite-corrupted", rules.Rewrites ? JsonText.Quote("on") : null),
        ("blkverify", rules.Verifies ? JsonText.Quote("on") : null),
        ("vote-threshold", JsonText.Quote(rules.Threshold.ToString(CultureInfo.InvariantCulture))));

    /// <summary>Told what differs between two children of which one is wrong.</summary>
    internal Action<string>? Diverged { get; init; }

    public override async IoTask CloseAsync()
    {
        if (_closed)
        {
            return;
        }

        _closed = true;
        Exception? first = null;
        foreach (ChildNode child in children)
        {
            try
            {
                await child.CloseAsync();
            }
            catch (ErrnoException e)
            {
                first ??= e;
            }
        }

        if (first is not null)
        {
            throw first;
        }
    }

    public override async IoTask<ImageInfo> GetInfoAsync()
    {
        long? sum = 0;
        foreach (BlockNode node in _nodes)
        {
            sum += await SpaceOfAsync(node);
        }

        return new ImageInfo { ActualSize = sum };
    }

    protected override async IoTask ReadCore(long offset, IoVector data)
    {
        for (long done = 0; done < data.Length; done += MaxVote)
        {
            IoVector piece = data.Slice(done, Math.Min(MaxVote, data.Length - done));
            await (rules.IsFifo ? ReadFirstAsync(offset + done, piece) : ReadVotedAsync(offset + done, piece));
        }
    }

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags) => DoAsync((child, _) => child.WriteAsync(offset, data, flags));

    protected override IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags) => DoAsync((child, _) => child.WriteZeroesAsync(offset, length, flags));

    protected override IoTask FlushCore() => DoAsync((child, _) => child.FlushAsync());

    // Zeroes only where all children have them: the vote on data is taken when it is read.
    protected override async IoTask<Extent> GetExtentCore(long offset, long length)
    {
        long zeroes = length;
        long data = 0;
        foreach (BlockNode node in _nodes)
        {
            Extent extent = (await ExtentWalker.GetChainExtentAsync(node, offset, length)).Extent;
            zeroes = extent.IsZero ? Math.Min(zeroes, extent.Length) : zeroes;
            data = extent.IsZero ? data : Math.Max(data, extent.Length);
        }

        return data > 0
            ? new Extent(offset, data, ExtentFlags.Data | ExtentFlags.Allocated)
            : new Extent(offset, zeroes, ExtentFlags.Zero | ExtentFlags.Allocated);
    }

    private static async IoTask<long?> SpaceOfAsync(BlockNode node)
        => (await node.GetInfoAsync()).ActualSize ?? (node.File is { } file ? await SpaceOfAsync(file) : null);

    private async IoTask DoAsync(Func<BlockNode, int, IoTask> request) => CheckVotes(await ChildRequest.StatusesAsync(_nodes, request));

    private void CheckVotes(Errno[] statuses)
    {
        if (statuses.Count(s => s == Errno.None) < rules.Threshold)
        {
            Errno errno = statuses.Where(s => s != Errno.None).GroupBy(s => s).MaxBy(g => g.Count())!.Key;
            throw new ErrnoException(errno, ErrnoException.Text(errno));
        }
    }

    private async IoTask ReadFirstAsync(long offset, IoVector data)
    {
        Errno last = Errno.None;
        foreach (BlockNode node in _nodes)
        {
            last = await ChildRequest.StatusAsync(node, child => child.ReadAsync(offset, data));
            if (last == Errno.None)
            {
                return;
            }
        }

        throw new ErrnoException(last, ErrnoException.Text(last));
    }

    private async IoTask ReadVotedAsync(long offset, IoVector data)
    {
        int length = (int)data.Length;
        IoBuffer[] versions = [.. _nodes.Select(_ => BufferPool.Local.Rent(length))];
        try
        {
            Errno[] statuses = await ChildRequest.StatusesAsync(_nodes, (child, index) => child.ReadAsync(offset, versions[index].Slice(0, length)));
            CheckVotes(statuses);
            int[] read = [.. Enumerable.Range(0, versions.Length).Where(i => statuses[i] == Errno.None)];
            data.CopyFrom(versions[read[0]].Slice(0, length));
            long difference = read.Skip(1).Select(i => ChildRequest.FirstDifference(data, versions[i].Span[..length])).FirstOrDefault(d => d >= 0, -1);
            if (difference >= 0)
            {
                await SettleAsync(offset, data, versions, read, difference);
            }
        }
        finally
        {
            Array.ForEach(versions, BufferPool.Local.Return);
        }
    }

    private async IoTask SettleAsync(long offset, IoVector data, IoBuffer[] versions, int[] read, long difference)
    {
        int length = (int)data.Length;
        if (rules.Verifies)
        {
            string message = $"quorum: offset={offset} bytes={length} contents mismatch at offset {offset + difference}";
            Diverged?.Invoke(message);
            throw new ErrnoException(Errno.EIO, message);
        }

        IGrouping<string, int> winner = read.GroupBy(i => Convert.ToHexString(SHA256.HashData(versions[i].Span[..length]))).MaxBy(g => g.Count())!;
        if (winner.Count() < rules.Threshold)
        {
            throw new ErrnoException(Errno.EIO, ErrnoException.Text(Errno.EIO));
        }

        data.CopyFrom(versions[winner.First()].Slice(0, length));
        foreach (int index in rules.Rewrites && !IsReadOnly ? read.Except(winner) : [])
        {
            // Whoever can't be put right is outvoted again next time.
            await ChildRequest.StatusAsync(_nodes[index], child => child.WriteAsync(offset, data));
        }
    }
}
