using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers;

/// <summary>How an image is opened.</summary>
[Flags]
public enum OpenFlags
{
    /// <summary>For reading.</summary>
    None = 0,

    /// <summary>For reading and writing.</summary>
    ReadWrite = 1,

    /// <summary>Leave backing files alone: the caller wants this image only.</summary>
    NoBacking = 2,

    /// <summary>Only facts are wanted; no data will be read. Lets images open that can't be used.</summary>
    NoIo = 4,

    /// <summary>Others may write meanwhile (-U, force-share): no locks are taken.</summary>
    ForceShare = 8,

    /// <summary>For `check`: opens what is dirty or corrupt, repairs nothing by itself.</summary>
    Check = 16,

    /// <summary>Flushes are ignored (cache.no-flush, cache=unsafe).</summary>
    NoFlush = 32,

    /// <summary>Bypass the page cache (cache.direct).</summary>
    Direct = 64,

    /// <summary>Every write is durable (writethrough).</summary>
    WriteThrough = 128,

    /// <summary>Discards have no effect (discard=ignore).</summary>
    IgnoreDiscard = 256,

    /// <summary>For servers: what has completed outlives the process without a flush, since the peer goes on with the next one and never repeats it.</summary>
    PublishMetadata = 512,

    /// <summary>The image comes from a stranger: nothing that it names is opened, its format is never guessed, and its tables may claim little memory.</summary>
    Untrusted = 1024,

    /// <summary>The image is gone through from its start to its end: caches of its tables need not be large.</summary>
    Sequential = 2048,

    /// <summary>Files are for aio=native where their options say nothing else.</summary>
    NativeAio = 4096,
}

/// <summary>What a driver needs to open a node.</summary>
/// <param name="Graph">Named nodes, and the way to open children.</param>
/// <param name="Options">The node's options without "driver"; a driver takes what it knows.</param>
/// <param name="Flags">How to open; children get the same unless the driver says otherwise.</param>
/// <param name="NodeName">The name asked for, or null.</param>
public sealed record OpenRequest(BlockGraph Graph, OptionSet Options, OpenFlags Flags, string? NodeName)
{
    /// <summary>True when writing is wanted.</summary>
    public bool IsReadWrite => (Flags & OpenFlags.ReadWrite) != 0;

    /// <summary>The file below, when it was opened already to find out its format; null when the user gave the format.</summary>
    public ChildNode? ProbedFile { get; init; }

    /// <summary>Full names of the images above whose chain of backing files led here.</summary>
    public IReadOnlyList<string> Overlays { get; init; } = [];

    /// <summary>Opens or finds the child that an option names ("file", "backing").</summary>
    /// <param name="role">The option.</param>
    /// <param name="flags">How to open it.</param>
    /// <returns>The child, or null when the option is absent. An inline child is owned by the new node, which closes it; a named one is not.</returns>
    public IoTask<ChildNode?> OpenChildAsync(string role, OpenFlags flags) => role == "file" && ProbedFile is not null
        ? new IoTask<ChildNode?>(ProbedFile)
        : Graph.OpenChildAsync(Options.TakeReference(role), role, flags);

    /// <summary>Opens or finds a child that must be there, for the same use as the new node.</summary>
    /// <param name="role">The option.</param>
    /// <returns>The child.</returns>
    /// <exception cref="OptionException">The option is absent.</exception>
    public async IoTask<ChildNode> OpenRequiredChildAsync(string role)
        => await OpenChildAsync(role, Flags) ?? throw new OptionException($"A block device must be specified for \"{role}\"");
}

/// <summary>A node below another, and whether its parent closes it.</summary>
/// <param name="Node">The node.</param>
/// <param name="IsOwned">True when the parent closes it.</param>
public readonly record struct ChildNode(BlockNode Node, bool IsOwned)
{
    /// <summary>Closes the node if it is owned.</summary>
    /// <returns>The task.</returns>
    public IoTask CloseAsync() => IsOwned ? Node.CloseAsync() : IoTask.Completed;
}

/// <summary>What a driver needs to create an image.</summary>
/// <param name="Graph">The way to open the file below.</param>
/// <param name="FileName">Where.</param>
/// <param name="Size">The virtual size in bytes.</param>
/// <param name="Options">Creation options (-o); a driver takes what it knows, the caller refuses the rest.</param>
public sealed record CreateRequest(BlockGraph Graph, string FileName, long Size, OptionSet Options);
