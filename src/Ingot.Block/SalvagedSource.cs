using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Block;

/// <summary>Something that could not be read of a source that is copied nevertheless.</summary>
/// <param name="Offset">Where, in the source's count of bytes.</param>
/// <param name="IsStatus">True when only what the range holds could not be told: it is read as data then. False when zeroes take the place of 512 bytes.</param>
/// <param name="Error">The failure.</param>
public readonly record struct SalvageProblem(long Offset, bool IsStatus, ErrnoException Error);

/// <summary>What a copy reads from. With <see cref="CopyOptions.Salvage"/>, what fails is narrowed down to single sectors and gone past.</summary>
/// <param name="source">The node.</param>
/// <param name="options">Where in the node the copy begins, and what happens to failures.</param>
internal sealed class SalvagedSource(BlockNode source, CopyOptions options)
{
    private const int Sector = 512;

    internal bool Salvages => options.Salvage is not null;

    /// <summary>Reads a range of the copy.</summary>
    /// <param name="offset">Bytes from the copy's start.</param>
    /// <param name="data">Where to put the bytes.</param>
    /// <param name="problems">Where failures are noted.</param>
    /// <returns>The task.</returns>
    internal IoTask ReadAsync(long offset, IoVector data, List<SalvageProblem>? problems)
        => problems is null ? ReadWholeAsync(options.SourceOffset + offset, data) : SalvageAsync(options.SourceOffset + offset, data, problems);

    /// <summary>What a range of the copy holds.</summary>
    /// <param name="offset">Bytes from the copy's start.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="problems">Where failures are noted.</param>
    /// <returns>The first extent, in the copy's own offsets.</returns>
    internal async IoTask<Extent> GetExtentAsync(long offset, long length, List<SalvageProblem>? problems)
    {
        long at = options.SourceOffset + offset;
        while (true)
        {
            try
            {
                Extent extent = options.Below is { } below
                    ? await ExtentWalker.GetExtentAboveAsync(source, below, at, length)
                    : (await ExtentWalker.GetChainExtentAsync(source, at, length)).Extent;
                return extent with { Offset = offset };
            }
            catch (ErrnoException e) when (problems is not null || options.NamesOffsets)
            {
                if (problems is null)
                {
                    throw new ErrnoException(e.Errno, $"error while reading block status at offset {at}: {e.Message}", e);
                }

                if (length <= Sector)
                {
                    problems.Add(new SalvageProblem(at, true, e));
                    return new Extent(offset, length, ExtentFlags.Data | ExtentFlags.Allocated);
                }

                // Fewer steps than by halves, and the sound part in front of the failure is not asked for too often.
                length = (((length + Sector - 1) / Sector) + 3) / 4 * Sector;
            }
        }
    }

    private async IoTask ReadWholeAsync(long offset, IoVector data)
    {
        try
        {
            await source.ReadAsync(offset, data);
        }
        catch (ErrnoException e) when (options.NamesOffsets)
        {
            throw new ErrnoException(e.Errno, $"error while reading at byte {offset}: {e.Message}", e);
        }
    }

    private async IoTask SalvageAsync(long offset, IoVector data, List<SalvageProblem> problems)
    {
        if (await source.ReadAsync(offset, data).Status() == Errno.None)
        {
            return;
        }

        for (long done = 0; done < data.Length; done += Sector)
        {
            IoVector piece = data.Slice(done, Math.Min(Sector, data.Length - done));
            try
            {
                await source.ReadAsync(offset + done, piece);
            }
            catch (ErrnoException e)
            {
                problems.Add(new SalvageProblem(offset + done, false, e));
                piece.Clear();
            }
        }
    }
}
