using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ingot.Io;
using Ingot.Virtio.Rings;

namespace Ingot.Virtio.Blk;

/// <summary>What came of a chain.</summary>
public enum BlkParseResult
{
    /// <summary>A request that is within the limits: serve it.</summary>
    Request,

    /// <summary>Nothing to do but to answer with <see cref="VirtioBlkRequest.Refusal"/>.</summary>
    Answer,

    /// <summary>The chain has no room for an answer.</summary>
    Unanswerable,
}

/// <summary>
/// One request, parsed from a chain. All that a guest can get wrong ends here: what comes out as a request is in range and aligned.
/// Reused from request to request.
/// </summary>
public sealed class VirtioBlkRequest : IDisposable
{
    private const int SectorShift = 9;
    private BlkRange[] _ranges = [];

    /// <summary>The buffers.</summary>
    public DescriptorChain Chain { get; } = new();

    /// <summary>What to do.</summary>
    public BlkRequestType Type { get; private set; }

    /// <summary>The first byte on the disk; of <see cref="BlkRequestType.In"/> and <see cref="BlkRequestType.Out"/>.</summary>
    public long Offset { get; private set; }

    /// <summary>The data buffers of In, Out and GetId.</summary>
    public IoVector Data { get; private set; }

    /// <summary>The status when the parser answered by itself.</summary>
    public BlkStatus Refusal { get; private set; }

    /// <summary>The number of ranges of Discard and WriteZeroes.</summary>
    public int RangeCount { get; private set; }

    /// <summary>The ranges of Discard and WriteZeroes, checked.</summary>
    public ReadOnlySpan<BlkRange> Ranges => _ranges.AsSpan(0, RangeCount);

    /// <summary>Takes the chain apart. Header and status may be embedded in the ring, or split over descriptors in any way.</summary>
    /// <param name="limits">What the device accepts.</param>
    /// <returns>What came of it.</returns>
    public BlkParseResult Parse(BlkLimits limits)
    {
        if (!Chain.CanBeAnswered)
        {
            return BlkParseResult.Unanswerable;
        }

        if (!Chain.TryReadHeader(out ulong low, out ulong sector))
        {
            return Answer(BlkStatus.IoError);
        }

        Type = (BlkRequestType)(uint)low;
        switch (Type)
        {
            case BlkRequestType.In:
                Data = Chain.WritableData();
                return CheckTransfer(sector, limits);
            case BlkRequestType.Out when limits.IsReadOnly:
                return Answer(BlkStatus.IoError);
            case BlkRequestType.Out:
                Data = Chain.ReadableData();
                return CheckTransfer(sector, limits);
            case BlkRequestType.Flush:
                return BlkParseResult.Request;
            case BlkRequestType.GetId:
                Data = Chain.WritableData();
                return BlkParseResult.Request;
            case BlkRequestType.Discard or BlkRequestType.WriteZeroes:
                return limits.IsReadOnly ? Answer(BlkStatus.IoError) : ParseRanges(limits);
            default:
                return Answer(BlkStatus.Unsupported);
        }
    }

    /// <summary>Writes the status where the driver expects it.</summary>
    /// <param name="status">How it went.</param>
    public void WriteStatus(BlkStatus status) => Chain.WriteStatus((byte)status);

    /// <inheritdoc/>
    public void Dispose() => Chain.Dispose();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private BlkParseResult CheckTransfer(ulong sector, BlkLimits limits)
    {
        long length = Data.Length;
        var sectors = (ulong)length >> SectorShift;
        ulong blockMask = (ulong)limits.BlockSize - 1;
        if (((ulong)length & blockMask) != 0 || sector > limits.CapacitySectors || sectors > limits.CapacitySectors - sector
            || ((sector << SectorShift) & blockMask) != 0)
        {
            return Answer(BlkStatus.IoError);
        }

        Offset = (long)(sector << SectorShift);
        return length == 0 ? Answer(BlkStatus.Ok) : BlkParseResult.Request;
    }

    private BlkParseResult ParseRanges(BlkLimits limits)
    {
        IoVector data = Chain.ReadableData();
        if (data.Length == 0 || data.Length % BlkRange.Size != 0 || data.Length / BlkRange.Size > limits.MaxRanges)
        {
            return Answer(BlkStatus.IoError);
        }

        // Copied first, checked then: the guest may change its copy meanwhile.
        RangeCount = (int)(data.Length / BlkRange.Size);
        if (_ranges.Length < RangeCount)
        {
            _ranges = new BlkRange[limits.MaxRanges];
        }

        data.CopyTo(MemoryMarshal.AsBytes(_ranges.AsSpan(0, RangeCount)));
        foreach (ref readonly BlkRange range in Ranges)
        {
            BlkStatus status = Check(range, limits);
            if (status != BlkStatus.Ok)
            {
                return Answer(status);
            }
        }

        return BlkParseResult.Request;
    }

    private BlkStatus Check(in BlkRange range, BlkLimits limits)
    {
        uint allowed = Type == BlkRequestType.WriteZeroes ? BlkRange.Unmap : 0;
        if ((range.Flags & ~allowed) != 0)
        {
            return BlkStatus.Unsupported;
        }

        uint most = Type == BlkRequestType.WriteZeroes ? limits.MaxWriteZeroesSectors : limits.MaxDiscardSectors;
        var blockMask = (ulong)((limits.BlockSize >> SectorShift) - 1);
        return range.SectorCount <= most && range.Sector <= limits.CapacitySectors && range.SectorCount <= limits.CapacitySectors - range.Sector
            && ((range.Sector | range.SectorCount) & blockMask) == 0
            ? BlkStatus.Ok
            : BlkStatus.IoError;
    }

    private BlkParseResult Answer(BlkStatus status)
    {
        Refusal = status;
        return BlkParseResult.Answer;
    }
}
