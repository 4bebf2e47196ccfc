using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers;

/// <summary>What the block layer knows of a driver before it opens anything: its name, how to recognize its images, how to open and create them.</summary>
public abstract class BlockDriver
{
    /// <summary>The name in options: "qcow2".</summary>
    public abstract string Name { get; }

    /// <summary>Other names for the same driver.</summary>
    public virtual IReadOnlyList<string> Aliases => [];

    /// <summary>True for a driver that has no file below it: a file, a socket, memory.</summary>
    public virtual bool IsProtocol => false;

    /// <summary>True for a driver whose images can have a backing file.</summary>
    public virtual bool SupportsBacking => false;

    /// <summary>How sure the driver is that an image is its own.</summary>
    /// <param name="head">The first bytes of the image, up to 2 KiB.</param>
    /// <returns>0 for not at all to 100 for a signature.</returns>
    public virtual int Probe(ReadOnlySpan<byte> head) => 0;

    /// <summary>Opens a node. Takes what it knows out of the options; the caller refuses the rest.</summary>
    /// <param name="request">Options, flags, and the way to children.</param>
    /// <returns>The node; owned by the caller.</returns>
    public abstract IoTask<BlockNode> OpenAsync(OpenRequest request);

    /// <summary>The options of an open image that is opened anew with other ones: what is not named stays as it is.</summary>
    /// <param name="options">The options so far; changed.</param>
    /// <param name="changes">The new ones.</param>
    public virtual void ChangeOptions(OptionSet options, OptionSet changes) => options.Merge(changes);

    /// <summary>Creates an image. An existing file is replaced; after a failure no new file is left behind.</summary>
    /// <param name="request">Name, size and options.</param>
    /// <returns>The task.</returns>
    /// <exception cref="OptionException">The driver can't create images, or an option is wrong.</exception>
    public virtual IoTask CreateAsync(CreateRequest request)
        => IoTask.FromException(new OptionException($"Format driver '{Name}' does not support image creation"));

    /// <summary>The options of an existing image that can be changed, if its node is <see cref="IAmendable"/>: name, help.</summary>
    public virtual IReadOnlyList<(string Name, string Help)> AmendOptions => [];

    /// <summary>The options that <see cref="CreateAsync"/> takes: name, help.</summary>
    public virtual IReadOnlyList<(string Name, string Help)> CreateOptions => [];
}
