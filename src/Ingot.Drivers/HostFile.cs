using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers;

/// <summary>The file that an image lies in, as the format sees it: reads past its end give zeroes, writes past its end extend it where that is possible.</summary>
internal sealed class HostFile(ChildNode child)
{
    private readonly IEventSink? _events = child.Node as IEventSink;

    internal BlockNode Node => child.Node;

    internal string FileName => child.Node.FileName;

    /// <summary>The name that relative names count from.</summary>
    internal string BaseFileName => child.Node.BaseFileName;

    internal long Length => child.Node.Length;

    /// <summary>True once something was to be written: closing then makes it durable.</summary>
    internal bool WasWritten { get; private set; }

    /// <summary>Reads; zeroes past the end.</summary>
    internal IoTask ReadAsync(long offset, IoVector data)
    {
        long inside = Math.Max(0, Length - offset);
        if (data.Length <= inside)
        {
            return child.Node.ReadAsync(offset, data);
        }

        data.Slice(inside).Clear();
        return inside == 0 ? IoTask.Completed : child.Node.ReadAsync(offset, data.Slice(0, inside));
    }

    /// <summary>Tells the node below what comes next, if it wants to know.</summary>
    /// <param name="eventName">The event.</param>
    internal void Signal(string eventName) => _events?.Signal(eventName);

    /// <summary>Reads what a guest asked for.</summary>
    internal IoTask ReadDataAsync(long offset, IoVector data)
    {
        _events?.Signal(BlockEvents.ReadData);
        return ReadAsync(offset, data);
    }

    /// <summary>Writes what a guest gave.</summary>
    internal IoTask WriteDataAsync(long offset, IoVector data, WriteFlags flags = WriteFlags.None)
    {
        _events?.Signal(BlockEvents.WriteData);
        return WriteAsync(offset, data, flags);
    }

    /// <summary>Reads into managed memory, for tables that are kept decoded.</summary>
    internal async IoTask<byte[]> ReadBytesAsync(long offset, int length)
    {
        var bytes = new byte[length];
        using var buffer = new IoBuffer(Math.Max(1, length));
        await ReadAsync(offset, buffer.Slice(0, length));
        buffer.Slice(0, length).CopyTo(bytes);
        return bytes;
    }

    internal IoTask WriteAsync(long offset, IoVector data, WriteFlags flags = WriteFlags.None)
    {
        WasWritten = true;
        CheckSpace(offset + data.Length);
        return child.Node.WriteAsync(offset, data, flags);
    }

    /// <summary>Writes managed bytes.</summary>
    internal async IoTask WriteBytesAsync(long offset, ReadOnlyMemory<byte> bytes)
    {
        using var buffer = new IoBuffer(Math.Max(1, bytes.Length));
        IoVector data = buffer.Slice(0, bytes.Length);
        data.CopyFrom(bytes.Span);
        await WriteAsync(offset, data);
    }

    internal IoTask WriteZeroesAsync(long offset, long length, ZeroFlags flags = ZeroFlags.None)
    {
        WasWritten = true;
        CheckSpace(offset + length);
        return child.Node.WriteZeroesAsync(offset, length, flags);
    }

    /// <summary>Has the kernel copy to it; false when that can't be done.</summary>
    internal IoTask<bool> CopyRangeAsync(long offset, BlockNode source, long sourceOffset, long length)
    {
        WasWritten = true;
        CheckSpace(offset + length);
        _events?.Signal(BlockEvents.WriteData);
        return child.Node.CopyRangeAsync(offset, source, sourceOffset, length);
    }

    internal IoTask DiscardAsync(long offset, long length)
    {
        length = Math.Min(length, Length - offset);
        return length <= 0 ? IoTask.Completed : child.Node.DiscardAsync(offset, length);
    }

    internal IoTask FlushAsync() => child.Node.FlushAsync();

    internal IoTask ResizeAsync(long length)
    {
        WasWritten = true;
        return child.Node.ResizeAsync(length);
    }

    internal IoTask CloseAsync() => child.CloseAsync();

    private void CheckSpace(long end)
    {
        if (end > Length && (child.Node.Features & BlockFeatures.Growable) == 0)
        {
            throw new ErrnoException(Errno.ENOSPC, $"No space left in '{FileName}': the image needs {end} bytes, its file has {Length} and can't grow");
        }
    }
}
