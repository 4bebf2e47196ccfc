using Ingot.Block;
using Ingot.Io;

namespace Ingot.Exports;

/// <summary>A node offered to other programs. Lives from its creation to <see cref="StopAsync"/>, whoever comes and goes meanwhile.</summary>
public abstract class Export
{
    /// <summary>Creates an export.</summary>
    /// <param name="id">Its name, unique within a process.</param>
    /// <param name="node">What it offers; stays open until the export is stopped.</param>
    protected Export(string id, BlockNode node)
    {
        Id = id;
        Node = node;
    }

    /// <summary>Its name, unique within a process.</summary>
    public string Id { get; }

    /// <summary>"vhost-user-blk".</summary>
    public abstract string Type { get; }

    /// <summary>What it offers.</summary>
    public BlockNode Node { get; }

    /// <summary>What it has done so far; any thread.</summary>
    public abstract ExportStatistics Statistics { get; }

    /// <summary>Tells clients that the node's size has changed.</summary>
    /// <returns>The task.</returns>
    public abstract IoTask NotifyResizeAsync();

    /// <summary>Takes no more requests, finishes those in flight, flushes the node and gives up the address. The node stays open. Idempotent.</summary>
    /// <returns>The task.</returns>
    public abstract IoTask StopAsync();
}

/// <summary>Counters of an export since it was created.</summary>
/// <param name="IsConnected">A client is there.</param>
/// <param name="Requests">Requests that were answered.</param>
/// <param name="BytesRead">Bytes that clients read.</param>
/// <param name="BytesWritten">Bytes that clients wrote.</param>
/// <param name="Errors">Requests that were answered with an error.</param>
public readonly record struct ExportStatistics(bool IsConnected, long Requests, long BytesRead, long BytesWritten, long Errors);
