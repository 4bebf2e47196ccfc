using System.Diagnostics;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Jobs;

/// <summary>What a <see cref="BenchJob"/> does. All sizes are bytes.</summary>
public sealed record BenchOptions
{
    /// <summary>Requests in all.</summary>
    public int Count { get; init; } = 75_000;

    /// <summary>Requests in flight.</summary>
    public int Depth { get; init; } = 64;

    /// <summary>The length of each.</summary>
    public int Length { get; init; } = 4096;

    /// <summary>From the start of one to the start of the next; 0 for <see cref="Length"/>.</summary>
    public long Step { get; init; }

    /// <summary>Where the first starts.</summary>
    public long Offset { get; init; }

    /// <summary>Whether to write.</summary>
    public bool IsWrite { get; init; }

    /// <summary>The byte to write.</summary>
    public byte Pattern { get; init; }

    /// <summary>Requests between two flushes; 0 for none.</summary>
    public int FlushInterval { get; init; }

    /// <summary>Whether a flush waits until nothing is in flight, and lets nothing start before it ends.</summary>
    public bool DrainsForFlush { get; init; } = true;

    /// <summary>Memory for the data of all requests in flight, one after the other; empty to allocate some.</summary>
    public IoVector Memory { get; init; }
}

/// <summary>Sends equal requests with a fixed number in flight, and takes the time.</summary>
/// <param name="node">The image.</param>
/// <param name="options">What to send.</param>
public sealed class BenchJob(BlockNode node, BenchOptions options)
{
    private long _offset = options.Offset;
    private int _left;
    private int _completed;
    private int _senders;

    /// <summary>From one request's start to the next one's.</summary>
    public long Step => options.Step > 0 ? options.Step : options.Length;

    /// <summary>Runs.</summary>
    /// <returns>The time it took.</returns>
    public async IoTask<TimeSpan> RunAsync()
    {
        long started = Stopwatch.GetTimestamp();
        bool drains = options.FlushInterval > 0 && options.DrainsForFlush;
        for (int rest = options.Count; rest > 0;)
        {
            int batch = drains ? Math.Min(options.FlushInterval, rest) : rest;
            _left = batch;
            rest -= batch;
            await WorkGroup.RunAsync(Math.Min(options.Depth, batch), SendAsync);
            if (drains && batch == options.FlushInterval)
            {
                await node.FlushAsync();
            }
        }

        return Stopwatch.GetElapsedTime(started);
    }

    private async IoTask SendAsync()
    {
        using IoBuffer? own = options.Memory.Length > 0 ? null : new IoBuffer(options.Length);
        long place = (long)(_senders++ % options.Depth) * options.Length;
        IoVector data = own?.Vector ?? options.Memory.Slice(place, options.Length);
        data.Fill(options.Pattern);
        while (_left > 0)
        {
            _left--;
            long offset = NextOffset();
            await (options.IsWrite ? node.WriteAsync(offset, data) : node.ReadAsync(offset, data));
            _completed++;
            if (options.FlushInterval > 0 && !options.DrainsForFlush && _completed % options.FlushInterval == 0)
            {
                await node.FlushAsync();
            }
        }
    }

    // A request that would reach past the end fails, but later ones start over from the beginning.
    private long NextOffset()
    {
        long offset = _offset;
        if (offset > node.Length - options.Length)
        {
            _left = 0;
            throw ErrnoException.For(Errno.EIO, "Failed request");
        }

        _offset += Step;
        if (_offset >= node.Length)
        {
            _offset %= node.Length;
        }

        return offset;
    }
}
