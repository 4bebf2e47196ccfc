using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Jobs;

/// <summary>How two images compare.</summary>
public enum CompareOutcome
{
    /// <summary>They read the same.</summary>
    Identical,

    /// <summary>They read differently.</summary>
    ContentDiffers,

    /// <summary>They may read the same, but one has data where the other has none (strict mode).</summary>
    StatusDiffers,

    /// <summary>They have different sizes (strict mode).</summary>
    LengthDiffers,
}

/// <summary>The end of a comparison.</summary>
/// <param name="Outcome">How they compare.</param>
/// <param name="Offset">Where they first differ.</param>
public readonly record struct CompareResult(CompareOutcome Outcome, long Offset);

/// <summary>Compares two images by what a guest reads, without reading what is known to be zero in both.</summary>
/// <param name="first">One image.</param>
/// <param name="second">The other.</param>
/// <param name="isStrict">Whether sizes and allocation must be the same too.</param>
public sealed class CompareJob(BlockNode first, BlockNode second, bool isStrict)
{
    private const int ChunkLength = 512 << 10;
    private const int Sector = 512;

    private readonly IoBuffer _firstBuffer = new(ChunkLength);
    private readonly IoBuffer _secondBuffer = new(ChunkLength);

    /// <summary>Bytes to look at.</summary>
    public long Length { get; } = Math.Max(Round(first), Round(second));

    /// <summary>True when the images have different sizes.</summary>
    public bool LengthsDiffer => Round(first) != Round(second);

    /// <summary>Called once when the images have different sizes and that alone makes no difference.</summary>
    public Action? LengthWarning { get; set; }

    /// <summary>What messages call an image.</summary>
    public Func<BlockNode, string> NameOf { get; set; } = node => node.FileName;

    /// <summary>Called with the bytes compared so far.</summary>
    public Action<long>? Progress { get; set; }

    /// <summary>Compares.</summary>
    /// <returns>The first difference, or none.</returns>
    public async IoTask<CompareResult> RunAsync()
    {
        using IoBuffer firstBuffer = _firstBuffer;
        using IoBuffer secondBuffer = _secondBuffer;
        if (isStrict && LengthsDiffer)
        {
            return new CompareResult(CompareOutcome.LengthDiffers, 0);
        }

        long common = Math.Min(Round(first), Round(second));
        for (long offset = 0; offset < common;)
        {
            Extent a = await ExtentAtAsync(first, offset, common - offset);
            Extent b = await ExtentAtAsync(second, offset, common - offset);
            long length = Math.Min(a.Length, b.Length);
            if (isStrict && a.Flags != b.Flags)
            {
                return new CompareResult(CompareOutcome.StatusDiffers, offset);
            }

            if (!a.IsZero || !b.IsZero)
            {
                length = Math.Min(length, ChunkLength);
                if (await FindDifferenceAsync(offset, a.IsZero, b.IsZero, (int)length) is { } difference)
                {
                    return new CompareResult(CompareOutcome.ContentDiffers, difference);
                }
            }

            offset += length;
            Progress?.Invoke(offset);
        }

        return await CompareTailAsync(common);
    }

    // What the longer image has beyond the end of the shorter one must be zeroes.
    private async IoTask<CompareResult> CompareTailAsync(long common)
    {
        if (!LengthsDiffer)
        {
            return new CompareResult(CompareOutcome.Identical, 0);
        }

        LengthWarning?.Invoke();
        BlockNode longer = Round(first) > common ? first : second;
        for (long offset = common; offset < Length;)
        {
            Extent extent = await ExtentAtAsync(longer, offset, Length - offset);
            long length = extent.IsZero ? extent.Length : Math.Min(extent.Length, ChunkLength);
            if (!extent.IsZero && await FindDifferenceAsync(offset, longer != first, longer != second, (int)length) is { } difference)
            {
                return new CompareResult(CompareOutcome.ContentDiffers, difference);
            }

            offset += length;
            Progress?.Invoke(offset);
        }

        return new CompareResult(CompareOutcome.Identical, 0);
    }

    private async IoTask<long?> FindDifferenceAsync(long offset, bool firstIsZero, bool secondIsZero, int length)
    {
        // Both reads run at the same time.
        IoTask readingFirst = firstIsZero ? IoTask.Completed : ReadAsync(first, offset, _firstBuffer.Slice(0, length));
        Errno secondStatus = secondIsZero ? Errno.None : await ReadAsync(second, offset, _secondBuffer.Slice(0, length)).Status();
        await readingFirst;
        ThrowIfFailed(secondStatus, second, offset);
        ReadOnlySpan<byte> a = Content(_firstBuffer, firstIsZero, length);
        ReadOnlySpan<byte> b = Content(_secondBuffer, secondIsZero, length);
        int same = a.CommonPrefixLength(b);
        return same == length ? null : offset + (same / Sector * Sector);
    }

    private static ReadOnlySpan<byte> Content(IoBuffer buffer, bool isZero, int length)
    {
        if (isZero)
        {
            buffer.Span[..length].Clear();
        }

        return buffer.Span[..length];
    }

    private async IoTask ReadAsync(BlockNode node, long offset, IoVector data)
    {
        long stored = Math.Clamp(node.Length - offset, 0, data.Length);
        data.Slice(stored).Clear();
        try
        {
            await node.ReadAsync(offset, data.Slice(0, stored));
        }
        catch (ErrnoException e)
        {
            throw ErrnoException.For(e.Errno, $"Error while reading offset {offset} of {NameOf(node)}");
        }
    }

    private void ThrowIfFailed(Errno status, BlockNode node, long offset)
    {
        if (status != Errno.None)
        {
            throw ErrnoException.For(status, $"Error while reading offset {offset} of {NameOf(node)}");
        }
    }

    private static async IoTask<Extent> ExtentAtAsync(BlockNode node, long offset, long length)
    {
        long stored = node.Length - offset;
        return stored <= 0
            ? new Extent(offset, length, ExtentFlags.Zero)
            : (await ExtentWalker.GetChainExtentAsync(node, offset, Math.Min(length, stored))).Extent;
    }

    private static long Round(BlockNode node) => (node.Length + Sector - 1) / Sector * Sector;
}
