using Ingot.Block;
using Ingot.Drivers;
using Ingot.Exports;
using Ingot.Exports.VhostUser;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>The nodes, threads and exports of a daemon, by their ids. Lives on the control loop.</summary>
internal sealed class StorageDaemon(CommandContext context)
{
    private readonly BlockGraph _graph = NewGraph(context);
    private readonly Stack<BlockNode> _nodes = new();
    private readonly Dictionary<string, EventLoop> _threads = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Export> _exports = new(StringComparer.Ordinal);

    public async IoTask AddNodeAsync(OptionSet options)
    {
        if (options.Peek("node-name") is null)
        {
            throw new OptionException("'node-name' must be specified for the root node");
        }

        if (options.Peek("driver") is null)
        {
            throw new OptionException("Parameter 'driver' is missing");
        }

        _nodes.Push(await _graph.OpenAsync(options, OpenFlags.ReadWrite | OpenFlags.IgnoreDiscard | OpenFlags.PublishMetadata));
    }

    public void AddObject(OptionSet options)
    {
        string type = options.TakeRequired("qom-type");
        if (ObjectKinds.TryAdd(type, options, _graph.Secrets, _graph.Throttles))
        {
            return;
        }

        if (type != "iothread")
        {
            throw ObjectKinds.Refusal(type, options);
        }

        string id = options.TakeRequired("id");
        long poll = options.TakeNumber("poll-max-ns", 0) ?? EventLoopOptions.Default.MaxPollNanoseconds;
        options.TakeNumber("poll-grow", 0);
        options.TakeNumber("poll-shrink", 0);
        options.TakeNumber("aio-max-batch", 0);
        options.RefuseRest($"object '{id}'");
        if (_threads.ContainsKey(id))
        {
            throw new OptionException($"attempt to add duplicate property '{id}' to object (type 'container')");
        }

        _threads.Add(id, EventLoop.Start(id, EventLoopOptions.Default with { MaxPollNanoseconds = poll }));
    }

    public IoTask AddExportAsync(OptionSet options)
    {
        string type = options.TakeRequired("type");
        if (type != "vhost-user-blk")
        {
            throw new OptionException($"Parameter 'type' does not accept value '{type}' (this version exports vhost-user-blk)");
        }

        string id = options.TakeRequired("id");
        string nodeName = options.TakeRequired("node-name");
        BlockNode node = _graph.Find(nodeName) ?? throw new OptionException($"Cannot find device='' nor node-name='{nodeName}'");
        VhostUserBlkOptions export = TakeExport(options, id);
        EventLoop[] loops = TakeThreads(options, export.QueueCount);
        options.RefuseRest($"export '{id}'");
        if (_exports.ContainsKey(id))
        {
            throw new OptionException($"Block export id '{id}' is already in use");
        }

        if (export.Writable && _exports.Values.Any(e => e.Node == node && e is VhostUserBlkExport { IsWritable: true }))
        {
            throw new OptionException($"Node '{nodeName}' has a writable export already; a second writer could destroy its data");
        }

        _exports.Add(id, VhostUserBlkExport.Start(export, node, loops, context.Warn));
        return IoTask.Completed;
    }

    /// <summary>Stops exports, closes nodes from the top down, ends threads.</summary>
    /// <returns>The task.</returns>
    public async IoTask StopAsync()
    {
        foreach (Export export in _exports.Values)
        {
            await export.StopAsync();
        }

        foreach (BlockNode node in _nodes)
        {
            await node.CloseAsync();
        }

        foreach (EventLoop thread in _threads.Values)
        {
            thread.Dispose();
        }
    }

    // Other disks go on when one turns out to be wrong.
    private static BlockGraph NewGraph(CommandContext context)
    {
        BlockGraph graph = context.NewGraph();
        graph.Diverged = context.Warn;
        return graph;
    }

    private static VhostUserBlkOptions TakeExport(OptionSet options, string id)
    {
        OptionSet address = options.TakeSet("addr");
        string? path = null;
        FileDescriptor? socket = null;
        if (address.TakeWord("type", "unix", "fd") == "fd")
        {
            socket = TakeDescriptor(address);
        }
        else
        {
            path = address.TakeRequired("path") is { Length: > 0 } given
                ? NativeText.FullPath(given)
                : throw new OptionException($"Parameter 'addr.path' of export '{id}' must not be empty");
        }

        address.RefuseRest($"the address of export '{id}'");
        return new VhostUserBlkOptions
        {
            Id = id,
            Path = path,
            Socket = socket,
            Writable = options.TakeBool("writable") ?? false,
            WriteThrough = options.TakeBool("writethrough") ?? false,
            QueueCount = (int)(options.TakeNumber("num-queues", 1, VhostUserBlkOptions.MaxQueues) ?? 1),
            Packed = options.TakeBool("packed") ?? false,
            Embedded = options.TakeBool("embedded") ?? false,
            RegisterMemory = options.TakeBool("register-memory") ?? false,
            LogicalBlockSize = (int?)options.TakeSize("logical-block-size"),
        };
    }

    private static FileDescriptor TakeDescriptor(OptionSet address)
    {
        string text = address.TakeRequired("str");
        return int.TryParse(text, out int fd) && fd >= 0 && Libc.fcntl(fd, Libc.F_GETFL, 0) >= 0
            ? new FileDescriptor(fd)
            : throw new OptionException($"Parameter 'addr.str' must be the number of an open file descriptor; got '{text}'");
    }

    private EventLoop[] TakeThreads(OptionSet options, int queueCount)
    {
        options.TakeBool("fixed-iothread");
        string? name = options.TakeString("iothread");
        EventLoop[] mapped = QueueMapping.Take(options, queueCount, _threads.GetValueOrDefault);
        return name is null ? mapped
            : mapped.Length > 0 ? throw new OptionException("iothread and iothread-vq-mapping properties cannot be set at the same time")
            : _threads.TryGetValue(name, out EventLoop? thread) ? [thread]
            : throw new OptionException($"iothread \"{name}\" not found");
    }
}
