using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Jobs;

/// <summary>Several images read as one, end to end; what `convert` makes of more than one source. Each part is padded with zeroes to whole sectors.</summary>
/// <param name="parts">The images; they stay owned by the caller.</param>
internal sealed class ConcatNode(IReadOnlyList<BlockNode> parts) : BlockNode(null)
{
    private const int Sector = 512;

    private readonly long[] _starts = Starts(parts);

    public override string DriverName => "concat";

    public override long Length => _starts[^1];

    public override BlockFeatures Features => BlockFeatures.None;

    protected override async IoTask ReadCore(long offset, IoVector data)
    {
        for (long done = 0; done < data.Length;)
        {
            int i = IndexAt(offset + done);
            long inPart = offset + done - _starts[i];
            long count = Math.Min(data.Length - done, _starts[i + 1] - offset - done);
            long stored = Math.Clamp(parts[i].Length - inPart, 0, count);
            if (stored > 0)
            {
                await parts[i].ReadAsync(inPart, data.Slice(done, stored));
            }

            data.Slice(done + stored, count - stored).Clear();
            done += count;
        }
    }

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
        => IoTask.FromException(new ErrnoException(Errno.EPERM, "Concatenated images are read-only"));

    protected override IoTask FlushCore() => IoTask.Completed;

    protected override async IoTask<Extent> GetExtentCore(long offset, long length)
    {
        int i = IndexAt(offset);
        long inPart = offset - _starts[i];
        long stored = parts[i].Length - inPart;
        if (stored <= 0)
        {
            return new Extent(offset, Math.Min(length, _starts[i + 1] - offset), ExtentFlags.Zero);
        }

        Extent extent = (await ExtentWalker.GetChainExtentAsync(parts[i], inPart, Math.Min(length, stored))).Extent;
        return new Extent(offset, extent.Length, extent.Flags & ~ExtentFlags.OffsetValid);
    }

    private static long[] Starts(IReadOnlyList<BlockNode> parts)
    {
        long[] starts = new long[parts.Count + 1];
        for (int i = 0; i < parts.Count; i++)
        {
            starts[i + 1] = starts[i] + ((parts[i].Length + Sector - 1) / Sector * Sector);
        }

        return starts;
    }

    private int IndexAt(long offset)
    {
        int i = Array.BinarySearch(_starts, offset);
        i = i >= 0 ? i : ~i - 1;
        while (_starts[i + 1] == offset)
        {
            i++;
        }

        return i;
    }
}
