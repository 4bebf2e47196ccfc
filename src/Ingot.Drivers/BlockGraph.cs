using Ingot.Block;
using Ingot.Drivers.Crypto;
using Ingot.Drivers.File;
using Ingot.Drivers.Raw;
using Ingot.Drivers.Throttle;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers;

/// <summary>The nodes of a process by name, and the one way in which nodes come to be: from a file name, from options, as a child.</summary>
public sealed class BlockGraph
{
    /// <summary>Bytes at the start of an image that formats are recognized by.</summary>
    public const int ProbeLength = 512;

    private readonly Dictionary<string, BlockNode> _named = new(StringComparer.Ordinal);

    /// <summary>Nodes that were given a name, in the order they came.</summary>
    public IReadOnlyCollection<BlockNode> NamedNodes => _named.Values;

    /// <summary>Messages that an operator should see but that fail nothing: "format was not specified, probing".</summary>
    public Action<string>? Warn { get; set; }

    /// <summary>Errors beside one that is thrown: of closing an image, several things may fail.</summary>
    public Action<string>? Report { get; set; }

    /// <summary>What nodes for tests have to say of what they do.</summary>
    public Action<string>? Tell { get; set; }

    /// <summary>Passwords and keys that options name.</summary>
    public SecretTable Secrets { get; init; } = new();

    /// <summary>Throttle groups that options name.</summary>
    public ThrottleTable Throttles { get; init; } = new();

    /// <summary>What to do when a node that checks others finds that they differ (blkverify): told what differs. Null fails the request.</summary>
    public Action<string>? Diverged { get; set; }

    /// <summary>Which backing file of the chain is opened for writing as well, counted from 1 at the top; 0 for none. For commit.</summary>
    public int WritableBacking { get; set; }

    /// <summary>The format that an image's first bytes claim; raw when no other format knows them.</summary>
    /// <param name="head">At least <see cref="ProbeLength"/> bytes.</param>
    /// <returns>The driver.</returns>
    public static BlockDriver Probe(ReadOnlySpan<byte> head)
    {
        BlockDriver? best = null;
        int bestScore = 0;
        foreach (BlockDriver driver in DriverTable.All)
        {
            int score = driver.Probe(head);
            if (score > bestScore)
            {
                best = driver;
                bestScore = score;
            }
        }

        return best ?? throw new InvalidOperationException("The raw driver is missing.");
    }

    /// <summary>Opens an image by file name, as `qemu-img info NAME` does.</summary>
    /// <param name="fileName">A path, "file:PATH", or a json: name.</param>
    /// <param name="format">The format, or null to probe.</param>
    /// <param name="flags">How to open.</param>
    /// <returns>The topmost node; owned by the caller.</returns>
    public IoTask<BlockNode> OpenFileAsync(string fileName, string? format, OpenFlags flags)
    {
        var options = new OptionSet();
        if (format is not null)
        {
            options.Set("driver", format);
        }

        return OpenNamedAsync(fileName, options, flags);
    }

    /// <summary>Opens an image by file name with options beside it, which go before those of a json: name.</summary>
    /// <param name="fileName">A path, "file:PATH", or a json: name.</param>
    /// <param name="options">Without "driver" the format is probed.</param>
    /// <param name="flags">How to open.</param>
    /// <returns>The topmost node; owned by the caller.</returns>
    public IoTask<BlockNode> OpenNamedAsync(string fileName, OptionSet options, OpenFlags flags) => OpenFileAsync(fileName, options, flags, []);

    /// <summary>Opens the image that another one names as its backing file; a chain that comes back to itself is refused.</summary>
    /// <param name="image">What the naming image was asked for.</param>
    /// <param name="imageName">The naming image's file name.</param>
    /// <param name="fileName">The backing file's name.</param>
    /// <param name="options">Its options; without "driver" its format is probed.</param>
    /// <param name="flags">How to open it.</param>
    /// <returns>The topmost node; owned by the caller.</returns>
    public IoTask<BlockNode> OpenBackingFileAsync(OpenRequest image, string imageName, string fileName, OptionSet options, OpenFlags flags)
    {
        List<string> overlays = [.. image.Overlays, NativeText.FullPath(StripFilePrefix(imageName))];
        string path = NativeText.FullPath(StripFilePrefix(fileName));
        flags = overlays.Count == WritableBacking ? flags | OpenFlags.ReadWrite : flags;
        return overlays.Contains(path)
            ? throw new ImageFormatException($"Backing file '{fileName}' creates an infinite loop.")
            : OpenFileAsync(fileName, options, flags, overlays);
    }

    /// <summary>Opens or finds the backing node that an image's options give.</summary>
    /// <param name="image">What the image was asked for.</param>
    /// <param name="imageName">Its file name.</param>
    /// <param name="reference">A node name, or an <see cref="OptionSet"/>.</param>
    /// <param name="flags">How to open it.</param>
    /// <returns>The child, or null without a reference.</returns>
    public async IoTask<ChildNode?> OpenBackingChildAsync(OpenRequest image, string imageName, object? reference, OpenFlags flags)
    {
        if (reference is not OptionSet options)
        {
            return await OpenChildAsync(reference, "backing", flags);
        }

        List<string> overlays = [.. image.Overlays, NativeText.FullPath(StripFilePrefix(imageName))];
        flags = overlays.Count == WritableBacking ? flags | OpenFlags.ReadWrite : flags;
        NameDriver(options);
        return new ChildNode(await OpenAsync(options, flags & ~OpenFlags.NoBacking, overlays), IsOwned: true);
    }

    private IoTask<BlockNode> OpenFileAsync(string fileName, OptionSet options, OpenFlags flags, IReadOnlyList<string> overlays)
    {
        options = options.Clone();
        if ((flags & OpenFlags.Untrusted) != 0)
        {
            // The name may be a stranger's as well: it is a path, whatever it looks like.
            options.Set("file.driver", "file");
            options.Set("file.filename", fileName.Length == 0 ? "" : NativeText.FullPath(fileName));
        }
        else if (fileName.StartsWith("json:", StringComparison.Ordinal))
        {
            OptionSet own = JsonText.Parse(fileName[5..], "Could not parse the JSON options");
            if (own.IsEmpty)
            {
                throw new OptionException("Must specify either driver or file");
            }

            own.Merge(options);
            options = own;
        }
        else
        {
            bool isProtocol = options.Peek("driver") is { } driver && FindDriver(driver).IsProtocol;
            options.Set(isProtocol ? "filename" : "file.filename", fileName);
        }

        return OpenAsync(options, flags, overlays);
    }

    /// <summary>Opens a node from options (--blockdev, --image-opts). A node with a name of its own is registered.</summary>
    /// <param name="options">With "driver"; without it the format is probed.</param>
    /// <param name="flags">How to open; the options "read-only", "cache.direct", "cache.no-flush", "force-share" change them.</param>
    /// <returns>The node; owned by the caller.</returns>
    public IoTask<BlockNode> OpenAsync(OptionSet options, OpenFlags flags) => OpenAsync(options, flags, []);

    private async IoTask<BlockNode> OpenAsync(OptionSet options, OpenFlags flags, IReadOnlyList<string> overlays)
    {
        options = options.Clone();
        string? driverName = options.TakeString("driver");
        if (driverName is not null)
        {
            return await OpenNodeAsync(FindDriver(driverName), options, flags, null, overlays);
        }

        if (!options.Has("file"))
        {
            throw new OptionException("Must specify either driver or file");
        }

        return await OpenProbedAsync(options, flags, overlays);
    }

    /// <summary>Opens or finds the child that a reference names.</summary>
    /// <param name="reference">A node name, an <see cref="OptionSet"/>, or null.</param>
    /// <param name="role">Its role, for messages.</param>
    /// <param name="flags">How to open it.</param>
    /// <returns>The child, or null without a reference.</returns>
    public async IoTask<ChildNode?> OpenChildAsync(object? reference, string role, OpenFlags flags)
    {
        switch (reference)
        {
            case null:
                return null;
            case string name:
                return new ChildNode(Find(name) ?? throw new OptionException($"Cannot find device='{name}' nor node-name='{name}'"), IsOwned: false);
            case OptionSet options:
                NameDriver(options);

                return new ChildNode(await OpenAsync(options, flags & ~OpenFlags.NoBacking), IsOwned: true);
            default:
                throw new OptionException($"Parameter '{role}' must be a node name or options");
        }
    }

    /// <summary>Opens or finds a child that is an image of its own: without "driver" its format is probed.</summary>
    /// <param name="reference">A node name, an <see cref="OptionSet"/>, or null.</param>
    /// <param name="role">Its role, for messages.</param>
    /// <param name="flags">How to open it.</param>
    /// <returns>The child, or null without a reference.</returns>
    public async IoTask<ChildNode?> OpenImageChildAsync(object? reference, string role, OpenFlags flags)
    {
        if (reference is not OptionSet options || options.Has("driver"))
        {
            return await OpenChildAsync(reference, role, flags);
        }

        return options.Has("file")
            ? new ChildNode(await OpenAsync(options, flags & ~OpenFlags.NoBacking), IsOwned: true)
            : throw new OptionException("Must specify either driver or file");
    }

    /// <summary>Finds a node by name.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The node, or null.</returns>
    public BlockNode? Find(string name) => _named.GetValueOrDefault(name);

    /// <summary>Makes a node known by its name, so that others may refer to it.</summary>
    /// <param name="node">The node; stays the caller's to close, after those that refer to it.</param>
    public void Add(BlockNode node) => _named.Add(node.Name, node);

    /// <summary>Forgets a named node that its owner has closed.</summary>
    /// <param name="node">The node.</param>
    public void Remove(BlockNode node) => _named.Remove(node.Name);

    /// <summary>Takes "file:" off a file name.</summary>
    /// <param name="fileName">A path or file:PATH.</param>
    /// <returns>The path.</returns>
    public static string StripFilePrefix(string fileName)
        => fileName.StartsWith("file:", StringComparison.Ordinal) ? fileName[5..] : fileName;

    /// <summary>Whether a name has the form "protocol:rest": a path with a colon before any slash must begin with "./" or "file:".</summary>
    /// <param name="name">The name.</param>
    /// <returns>True when it has.</returns>
    public static bool HasProtocol(string name)
    {
        int colon = name.IndexOf(':');
        int slash = name.IndexOf('/');
        return colon >= 0 && (slash < 0 || colon < slash);
    }

    /// <summary>The driver that a file name asks for: "xyz:..." with a colon before any slash names a protocol; everything else is a path.</summary>
    /// <param name="fileName">The name.</param>
    /// <returns>The driver.</returns>
    /// <exception cref="OptionException">There is no such protocol.</exception>
    public static BlockDriver ProtocolOf(string fileName)
    {
        if (HasProtocol(fileName) && !fileName.StartsWith("file:", StringComparison.Ordinal))
        {
            string protocol = fileName[..fileName.IndexOf(':')];
            return DriverTable.Find(protocol) is { IsProtocol: true } driver ? driver : throw new OptionException($"Unknown protocol '{protocol}'");
        }

        return FindDriver(FileDriver.KindOf(StripFilePrefix(fileName)));
    }

    private static BlockDriver FindDriver(string name) => DriverTable.Find(name) ?? throw new OptionException($"Unknown driver '{name}'");

    // A file name beside a format is that of the file below; without a driver it tells the protocol.
    private static void NameDriver(OptionSet options)
    {
        if (options.Peek("filename") is not { } fileName)
        {
            return;
        }

        if (options.Peek("driver") is not { } name)
        {
            options.Set("driver", ProtocolOf(fileName).Name);
        }
        else if (DriverTable.Find(name) is { IsProtocol: false } && !options.Has("file"))
        {
            options.TakeString("filename");
            options.Set("file.filename", fileName);
        }
    }

    private static OpenFlags TakeFlags(OptionSet options, OpenFlags flags)
    {
        static OpenFlags Apply(OpenFlags flags, OpenFlags bit, bool? on) => on is null ? flags : on.Value ? flags | bit : flags & ~bit;

        OptionSet cache = options.TakeSet("cache");
        flags = Apply(flags, OpenFlags.Direct, cache.TakeBool("direct"));
        flags = Apply(flags, OpenFlags.NoFlush, cache.TakeBool("no-flush"));
        flags = Apply(flags, OpenFlags.WriteThrough, !cache.TakeBool("writeback"));
        cache.RefuseRest("the cache options");
        flags = Apply(flags, OpenFlags.ForceShare, options.TakeBool("force-share"));
        flags = Apply(flags, OpenFlags.Untrusted, options.TakeBool("untrusted"));
        if (options.TakeWord("discard", "ignore", "off", "unmap", "on") is { } discard)
        {
            flags = Apply(flags, OpenFlags.IgnoreDiscard, discard is "ignore" or "off");
        }

        bool? readOnly = options.TakeBool("read-only");
        flags = Apply(flags, OpenFlags.ReadWrite, readOnly is null ? null : !readOnly.Value);

        // Without locks nothing would keep two writers apart.
        const OpenFlags unguarded = OpenFlags.ForceShare | OpenFlags.ReadWrite;
        return (flags & unguarded) != unguarded ? flags : throw new OptionException("force-share=on can only be used with read-only images");
    }

    private static ZeroDetection TakeZeroDetection(OptionSet options, OpenFlags flags) => options.TakeWord("detect-zeroes", "off", "on", "unmap") switch
    {
        "on" => ZeroDetection.On,
        "unmap" when (flags & OpenFlags.IgnoreDiscard) == 0 => ZeroDetection.Unmap,
        "unmap" => throw new OptionException("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap"),
        _ => ZeroDetection.Off,
    };

    private async IoTask<BlockNode> OpenProbedAsync(OptionSet options, OpenFlags flags, IReadOnlyList<string> overlays)
    {
        OpenFlags fileFlags = TakeFlags(options.Clone(), flags);
        if ((fileFlags & OpenFlags.Untrusted) != 0)
        {
            throw new OptionException("The format of an untrusted image is not guessed: give it (-f FORMAT, or driver=FORMAT)");
        }

        object? reference = options.TakeReference("file");
        bool mayShare = (fileFlags & (OpenFlags.NoIo | OpenFlags.ReadWrite | OpenFlags.ForceShare)) == OpenFlags.NoIo;
        string[] known = [.. _named.Keys];
        ChildNode file = await OpenChildAsync(reference, "file", mayShare ? fileFlags | OpenFlags.ForceShare : fileFlags) ?? throw new OptionException("Must specify either driver or file");
        try
        {
            BlockDriver driver = await ProbeAsync(file.Node);
            if (mayShare && driver is not RawDriver)
            {
                // Metadata that somebody writes can't be read.
                await file.CloseAsync();
                foreach (string name in _named.Keys.Except(known).ToArray())
                {
                    _named.Remove(name);
                }

                file = (await OpenChildAsync(reference, "file", fileFlags))!.Value;
            }

            return await OpenNodeAsync(driver, options, flags, file, overlays);
        }
        catch
        {
            await file.CloseAsync();
            throw;
        }
    }

    private static async IoTask<BlockDriver> ProbeAsync(BlockNode file)
    {
        using IoBuffer head = IoBuffer.Zeroed(ProbeLength);
        int length = (int)Math.Min(file.Length, ProbeLength);
        await file.ReadAsync(0, head.Slice(0, length));
        return Probe(head.Span);
    }

    // Names that begin with anything but a letter are those that nodes without one get.
    private static bool IsNodeName(string name)
        => name.Length > 0 && char.IsAsciiLetter(name[0]) && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_');

    private async IoTask<BlockNode> OpenNodeAsync(BlockDriver driver, OptionSet options, OpenFlags flags, ChildNode? probedFile, IReadOnlyList<string> overlays)
    {
        string? nodeName = options.TakeString("node-name");
        if (nodeName is not null && !IsNodeName(nodeName))
        {
            throw new OptionException($"Invalid node-name: '{nodeName}'");
        }

        if (nodeName is not null && _named.ContainsKey(nodeName))
        {
            throw new OptionException($"Duplicate nodes with node-name='{nodeName}'");
        }

        flags = TakeFlags(options, flags);
        bool autoReadOnly = options.TakeBool("auto-read-only") ?? false;
        ZeroDetection zeroes = TakeZeroDetection(options, flags);

        OptionSet again = options.Clone();
        BlockNode node;
        try
        {
            node = await driver.OpenAsync(new OpenRequest(this, options, flags, nodeName) { ProbedFile = probedFile, Overlays = overlays });
        }
        catch (ErrnoException e) when (autoReadOnly && e.Errno is Errno.EACCES or Errno.EPERM or Errno.EROFS)
        {
            options = again;
            node = await driver.OpenAsync(new OpenRequest(this, options, flags & ~OpenFlags.ReadWrite, nodeName) { ProbedFile = probedFile, Overlays = overlays });
        }

        try
        {
            if (options.FindRest() is { } name)
            {
                throw new OptionException(driver.IsProtocol
                    ? $"Block protocol '{driver.Name}' doesn't support the option '{name}'"
                    : $"Block format '{driver.Name}' does not support the option '{name}'");
            }
        }
        catch
        {
            await node.CloseAsync();
            throw;
        }

        node.DetectZeroes = zeroes;
        node.IgnoresDiscard = (flags & OpenFlags.IgnoreDiscard) != 0;
        if (nodeName is not null)
        {
            _named.Add(nodeName, node);
        }

        return node;
    }
}
