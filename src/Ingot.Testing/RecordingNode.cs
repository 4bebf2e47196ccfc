using Ingot.Block;
using Ingot.Io;

namespace Ingot.Testing;

/// <summary>Passes everything on and logs what changes the disk below, so that <see cref="CrashSampler"/> can make what a power cut leaves.</summary>
/// <param name="below">The disk.</param>
/// <param name="content">What it holds now.</param>
/// <param name="log">Where to log.</param>
public sealed class RecordingNode(BlockNode below, byte[] content, WriteLog log) : BlockNode(null)
{
    /// <inheritdoc/>
    public override string DriverName => "recording";

    /// <inheritdoc/>
    public override long Length => below.Length;

    /// <inheritdoc/>
    public override BlockFeatures Features => below.Features;

    /// <inheritdoc/>
    public override BlockLimits Limits => below.Limits;

    /// <inheritdoc/>
    public override string FileName => below.FileName;

    /// <summary>What the disk held when recording began; all of it durable.</summary>
    public ReadOnlySpan<byte> InitialContent => content;

    /// <summary>The log.</summary>
    public WriteLog Log => log;

    /// <inheritdoc/>
    protected override IoTask ReadCore(long offset, IoVector data) => below.ReadAsync(offset, data);

    /// <inheritdoc/>
    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        var bytes = new byte[data.Length];
        data.CopyTo(bytes);
        var change = new LoggedChange(this, LoggedKind.Write, offset, bytes.Length, bytes, (flags & WriteFlags.Fua) != 0, log.Tick());
        return LogAsync(change, below.WriteAsync(offset, data, flags));
    }

    /// <inheritdoc/>
    protected override IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
        => LogAsync(new LoggedChange(this, LoggedKind.Zero, offset, length, null, (flags & ZeroFlags.Fua) != 0, log.Tick()), below.WriteZeroesAsync(offset, length, flags));

    /// <inheritdoc/>
    protected override IoTask DiscardCore(long offset, long length)
        => LogAsync(new LoggedChange(this, LoggedKind.Discard, offset, length, null, false, log.Tick()), below.DiscardAsync(offset, length));

    /// <inheritdoc/>
    protected override IoTask ResizeCore(long length, Preallocation preallocation)
        => LogAsync(new LoggedChange(this, LoggedKind.Resize, length, 0, null, false, log.Tick()), below.ResizeAsync(length, preallocation));

    /// <inheritdoc/>
    protected override async IoTask FlushCore()
    {
        int issued = log.Tick();
        await below.FlushAsync();
        log.Add(new LoggedFlush(this, issued, log.Tick()));
    }

    private async IoTask LogAsync(LoggedChange change, IoTask running)
    {
        log.Add(change);
        await running;
        change.Completed = log.Tick();
    }
}
