using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Block;

/// <summary>
/// The one copy loop. Workers claim ranges in the order of their offsets, read them in parallel and write them, skipping what is known or found to be
/// zero. Writes start in the order of their offsets (but overlap), so that a format allocates its space in order and the target reads sequentially.
/// </summary>
/// <param name="source">Read from.</param>
/// <param name="target">Written to; at least as long as what is copied.</param>
/// <param name="options">How.</param>
public sealed class BlockCopier(BlockNode source, BlockNode target, CopyOptions options)
{
    private readonly LoopMutex _claiming = new();
    private readonly ClaimOrder _order = new();
    private readonly long _length = options.Length >= 0 ? options.Length : source.Length - options.SourceOffset;
    private readonly int _unit = UnitOf(target, options);
    private readonly int _chunk = ChunkOf(source, target, options);
    private readonly WriteFlags _writeFlags = options.Compress ? WriteFlags.Compressed : WriteFlags.None;
    private readonly RateLimit _rate = new(options.BytesPerSecond);
    private readonly SalvagedSource _source = new(source, options);
    private long _cursor;
    private Extent _known;
    private bool _failed;
    private bool _isPrepared;
    private bool _offloads = options.Offload;

    /// <summary>What a claimed range needs.</summary>
    private enum ClaimKind
    {
        /// <summary>Nothing is left.</summary>
        End,

        /// <summary>Nothing: the target has it already.</summary>
        Skip,

        /// <summary>Zeroes.</summary>
        Zero,

        /// <summary>To be read and written.</summary>
        Data,
    }

    /// <summary>Bytes to copy, holes included.</summary>
    public long Length => _length;

    /// <summary>Bytes done, holes included; any thread may read it.</summary>
    public long Done { get; private set; }

    /// <summary>Called on the loop each time <see cref="Done"/> has grown.</summary>
    public Action? Progress { get; set; }

    /// <summary>Set from any thread to end the copy early: <see cref="RunAsync"/> then fails with <see cref="OperationCanceledException"/>.</summary>
    public CancellationToken Cancellation { get; set; }

    /// <summary>Copies. Completes when all workers have ended, also after a failure; flushes nothing.</summary>
    /// <returns>The task; fails with the first failure of any worker.</returns>
    public async IoTask RunAsync()
    {
        if (_source.Salvages)
        {
            await SurveyAsync();
        }

        await WorkGroup.RunAsync(options.Parallel, WorkAsync);
    }

    // Tells all that is wrong with the source's tables before anything is copied: they are what decides whether the copy is worth its time.
    private async IoTask SurveyAsync()
    {
        var problems = new List<SalvageProblem>();
        for (long offset = 0; offset < _length && !Cancellation.IsCancellationRequested;)
        {
            offset += (await _source.GetExtentAsync(offset, _length - offset, problems)).Length;
            Report(problems);
        }
    }

    private void Report(List<SalvageProblem>? problems)
    {
        if (problems is { Count: > 0 })
        {
            problems.OrderBy(p => p.Offset).ToList().ForEach(options.Salvage!);
            problems.Clear();
        }
    }

    private static int UnitOf(BlockNode target, CopyOptions options)
    {
        if (options.Compress)
        {
            return Math.Max(target.Limits.OptimalTransfer, 512);
        }

        int unit = Math.Max(Math.Max(options.SparseLength, target.Limits.RequestAlignment), 512);
        int cluster = target.Limits.OptimalTransfer;
        return cluster > unit && cluster % unit == 0 && cluster <= CopyOptions.MaxChunk ? cluster : unit;
    }

    private static int ChunkOf(BlockNode source, BlockNode target, CopyOptions options)
    {
        int max = options.Compress ? Math.Max(target.Limits.OptimalTransfer, 512) : CopyOptions.PreferredChunk;
        foreach (int limit in (ReadOnlySpan<int>)[source.Limits.MaxTransfer, target.Limits.MaxTransfer])
        {
            max = limit > 0 ? Math.Min(max, limit) : max;
        }

        int unit = UnitOf(target, options);
        return Math.Max(unit, max / unit * unit);
    }

    private async IoTask WorkAsync()
    {
        IoBuffer? buffer = null;
        try
        {
            while (!_failed)
            {
                Claim claim = await ClaimAsync();
                if (claim.Kind == ClaimKind.End)
                {
                    break;
                }

                if (claim.Kind == ClaimKind.Data)
                {
                    buffer ??= BufferPool.Local.Rent(_chunk);
                }

                await CopyAsync(claim, buffer);
                Done += claim.Length;
                Progress?.Invoke();
            }
        }
        catch
        {
            // The others end at their next claim; a worker that waits for its turn to write is let go.
            _failed = true;
            _order.Open();
            throw;
        }
        finally
        {
            if (buffer is not null)
            {
                BufferPool.Local.Return(buffer);
            }
        }
    }

    // Parts may have been copied when the rest turns out to be nothing for the kernel: they are written again.
    private async IoTask<bool> TryOffloadAsync(Claim claim)
    {
        // A format gets its space when the copy starts, which others must not do before it.
        if (!options.OutOfOrder && target.Limits.OptimalTransfer > 0)
        {
            await _order.WaitAsync(claim.Number);
        }

        for (long offset = claim.Offset; offset < claim.Offset + claim.Length;)
        {
            long at = options.SourceOffset + offset;
            (Extent extent, _, BlockNode node) = await ExtentWalker.GetChainExtentAsync(source, at, claim.Offset + claim.Length - offset);
            const ExtentFlags plain = ExtentFlags.Data | ExtentFlags.OffsetValid;
            if ((extent.Flags & (plain | ExtentFlags.Compressed)) != plain || (node.Features & BlockFeatures.CopyRange) == 0)
            {
                return false;
            }

            if (!await target.CopyRangeAsync(offset, extent.HostNode!, extent.HostOffset, extent.Length))
            {
                _offloads = false;
                return false;
            }

            offset += extent.Length;
        }

        if (!options.OutOfOrder)
        {
            await _order.WaitAsync(claim.Number);
            _order.Next();
        }

        return true;
    }

    private async IoTask CopyAsync(Claim claim, IoBuffer? buffer)
    {
        if (claim.Kind != ClaimKind.Data)
        {
            await _order.WaitAsync(claim.Number);
            if (claim.Kind == ClaimKind.Zero)
            {
                await PassTurnAsync(WriteZeroesAsync(claim.Offset, claim.Length));
            }
            else
            {
                _order.Next();
            }

            return;
        }

        await _rate.WaitAsync(claim.Length);
        if (_offloads && await TryOffloadAsync(claim))
        {
            return;
        }

        IoVector data = buffer!.Slice(0, (int)claim.Length);
        await _source.ReadAsync(claim.Offset, data, claim.Problems);
        if (!options.OutOfOrder)
        {
            await _order.WaitAsync(claim.Number);
        }

        Report(claim.Problems);

        IoTask writing = !_failed ? WriteAsync(claim.Offset, buffer, (int)claim.Length) : IoTask.Completed;
        await (options.OutOfOrder ? writing : PassTurnAsync(writing));
    }

    // Lets the next claim start its write while this one goes on.
    private async IoTask PassTurnAsync(IoTask writing)
    {
        // The first write prepares the target and makes its first tables; those that wait for it must not get their space before it.
        if (!_isPrepared)
        {
            _isPrepared = true;
            await writing;
            writing = IoTask.Completed;
        }

        _order.Next();
        await writing;
    }

    private async IoTask WriteAsync(long offset, IoBuffer buffer, int length)
    {
        try
        {
            await WriteRunsAsync(offset, buffer, length);
        }
        catch (ErrnoException e) when (options.NamesOffsets)
        {
            throw new ErrnoException(e.Errno, $"error while writing at byte {offset}: {e.Message}", e);
        }
    }

    // Writes the runs of a chunk that hold data, and makes the others zero unless they are.
    private async IoTask WriteRunsAsync(long offset, IoBuffer buffer, int length)
    {
        int padded = PadToAlignment(offset, buffer, length);
        if (options.SparseLength == 0 || !options.DetectsZeroes)
        {
            await target.WriteAsync(offset, buffer.Slice(0, padded), _writeFlags);
            return;
        }

        for (int start = 0; start < padded;)
        {
            bool isZero = IsZeroUnit(buffer, start, padded);
            int end = Math.Min(start + _unit, padded);
            while (end < padded && IsZeroUnit(buffer, end, padded) == isZero)
            {
                end = Math.Min(end + _unit, padded);
            }

            if (!isZero)
            {
                await target.WriteAsync(offset + start, buffer.Slice(start, end - start), _writeFlags);
            }
            else
            {
                await WriteZeroesAsync(offset + start, end - start);
            }

            start = end;
        }
    }

    private IoTask WriteZeroesAsync(long offset, long length)
        => options.TargetIsZero ? IoTask.Completed
            : target.WriteZeroesAsync(offset, Math.Min(length, target.Length - offset), options.SparseLength > 0 ? ZeroFlags.MayUnmap : ZeroFlags.None);

    private bool IsZeroUnit(IoBuffer buffer, int start, int length)
        => !buffer.Span.Slice(start, Math.Min(_unit, length - start)).ContainsAnyExcept((byte)0);

    // The end of a source may not be aligned as the target wants it; what the target has beyond it is zero.
    private int PadToAlignment(long offset, IoBuffer buffer, int length)
    {
        int alignment = target.Limits.RequestAlignment;
        int padded = (int)Math.Min((length + alignment - 1L) / alignment * alignment, target.Length - offset);
        if (padded <= length)
        {
            return length;
        }

        buffer.Span[length..padded].Clear();
        return padded;
    }

    // Takes the next range. Ranges begin at multiples of the unit, so that no two workers touch the same cluster of the target.
    private async IoTask<Claim> ClaimAsync()
    {
        await _claiming.LockAsync();
        try
        {
            Cancellation.ThrowIfCancellationRequested();
            if (_cursor >= _length || _failed)
            {
                return default;
            }

            long start = _cursor;
            List<SalvageProblem>? problems = _source.Salvages ? [] : null;
            (ClaimKind kind, long aligned) = Classify(await ExtentAtAsync(start, problems), start);
            if (kind == ClaimKind.Data)
            {
                aligned = await EndOfDataAsync(aligned, Math.Min(start + _chunk, _length), problems);
            }

            _cursor = aligned;
            return new Claim(kind, start, aligned - start, _order.Take(options.OutOfOrder && kind == ClaimKind.Data), problems);
        }
        finally
        {
            _claiming.Unlock();
        }
    }

    // Where a run of data ends that is known up to a unit's end.
    private async IoTask<long> EndOfDataAsync(long end, long limit, List<SalvageProblem>? problems)
    {
        while (true)
        {
            // The rest of a unit is data in any case, but what is wrong with it must be told.
            for (long at = _known.End; problems is not null && at < Math.Min(end, limit); at = _known.End)
            {
                await ExtentAtAsync(at, problems);
            }

            if (end >= limit)
            {
                return limit;
            }

            (ClaimKind next, long nextEnd) = Classify(await ExtentAtAsync(end, problems), end);
            if (next != ClaimKind.Data)
            {
                return end;
            }

            end = nextEnd;
        }
    }

    // The kind of the range from a unit's start, and its end: a unit's start too, or the end of the copy.
    private (ClaimKind Kind, long End) Classify(Extent extent, long start)
    {
        long extentEnd = Math.Min(extent.End, _length);
        long floor = extentEnd == _length ? _length : extentEnd / _unit * _unit;
        bool isSkip = (extent.Flags & (ExtentFlags.Data | ExtentFlags.Zero)) == 0 && !extent.IsAllocated;
        if (floor > start && options.SparseLength > 0 && (extent.IsZero || isSkip))
        {
            return (isSkip || options.TargetIsZero ? ClaimKind.Skip : ClaimKind.Zero, floor);
        }

        return (ClaimKind.Data, Math.Min((extentEnd + _unit - 1) / _unit * _unit, _length));
    }

    // An extent that reaches further than the last claim is not asked for again.
    private async IoTask<Extent> ExtentAtAsync(long offset, List<SalvageProblem>? problems)
    {
        if (_known.Length == 0 || offset < _known.Offset || offset >= _known.End)
        {
            _known = await _source.GetExtentAsync(offset, _length - offset, problems);
        }

        return _known;
    }

    private readonly record struct Claim(ClaimKind Kind, long Offset, long Length, long Number, List<SalvageProblem>? Problems);
}
