using Ingot.Block;
using Ingot.Drivers;
using Ingot.Exports.VhostUser;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>ingot serve: one image on one vhost-user-blk socket, until a signal comes.</summary>
internal static class ServeCommand
{
    private const string ExportId = "disk";

    public static Command Command { get; } = new(
        "",
        "Serve an image over a vhost-user-blk socket",
        ["IMAGE --socket PATH [--format FMT] [--read-only] [--snapshot]", "[--queues N] [--packed] [--embedded] [--threads N] [--cache MODE] [--image-opts] [-q]"],
        [
            CommonOptions.Quiet, CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Value('s', "socket", "PATH", "where clients connect"),
            Option.Switch('r', "read-only", "clients can't write"),
            Option.Switch('\0', "snapshot", "keep the image as it is: what clients write is lost at the end"),
            Option.Value('\0', "queues", "N", "the most queues that a client may use (default 1, at most 64)"),
            Option.Switch('\0', "packed", "clients may use packed virtqueues"),
            Option.Switch('\0', "embedded", "clients may use rings with embedded request headers (an experiment; only Ingot's client can)"),
            Option.Value('\0', "threads", "N", "threads that serve queues (default 1); more need a raw image, or a qcow2 with --read-only"),
            Option.Value('t', "cache", "MODE", "none, writeback (default), writethrough, directsync or unsafe"),
            CommonOptions.Object,
        ],
        [("IMAGE", "the image; with --image-opts its options")],
        RunAsync);

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        if (arguments.Operands.Count != 1)
        {
            throw new UsageException("Expecting one image file name");
        }

        string socket = arguments.Last("socket") is { Length: > 0 } path ? path : throw new UsageException("Expecting --socket PATH");
        int queues = (int)(arguments.Size("queues", "number of queues", 1, VhostUserBlkOptions.MaxQueues) ?? 1);
        int threads = (int)(arguments.Size("threads", "number of threads", 1, VhostUserBlkOptions.MaxQueues) ?? 1);
        using var signals = new Interrupts();
        EventLoop[] loops = [];
        var nodes = new Stack<BlockNode>(); // closed from the top down
        try
        {
            BlockNode node = await OpenAsync(context, arguments, nodes);
            loops = StartLoops(node, threads);
            var options = new VhostUserBlkOptions { Id = ExportId, Path = socket, Writable = !node.IsReadOnly, QueueCount = queues, Packed = arguments.Has("packed"), Embedded = arguments.Has("embedded") };
            VhostUserBlkExport export = VhostUserBlkExport.Start(options, node, loops, context.Warn);
            try
            {
                PrintHints(context, arguments.Operands[0], node, options);
                await StatusLine.ShowUntilAsync(context, export, signals.Token);
            }
            finally
            {
                await export.StopAsync();
            }

            return 0;
        }
        finally
        {
            foreach (BlockNode node in nodes)
            {
                await node.CloseAsync();
            }

            foreach (EventLoop loop in loops)
            {
                loop.Dispose();
            }
        }
    }

    private static async IoTask<BlockNode> OpenAsync(CommandContext context, Arguments arguments, Stack<BlockNode> nodes)
    {
        string name = arguments.Operands[0];
        bool snapshot = arguments.Has("snapshot");
        OpenFlags flags = ImageOpener.CacheFlags(arguments.Last("cache"), "writeback", "cache") | OpenFlags.PublishMetadata;
        BlockGraph graph = context.NewGraph();
        bool writable = !arguments.Has("read-only");
        BlockNode image = await ImageOpener.OpenAsync(graph, arguments, name, writable && !snapshot ? flags | OpenFlags.ReadWrite : flags);
        nodes.Push(image);
        if (snapshot && writable)
        {
            nodes.Push(await TemporaryOverlay.OpenAsync(graph, image));
        }

        return nodes.Peek();
    }

    private static EventLoop[] StartLoops(BlockNode node, int threads)
        => threads > 1 && (node.Features & BlockFeatures.AnyLoop) != 0
            ? [.. Enumerable.Range(0, threads).Select(i => EventLoop.Start($"ingot-queue{i}"))]
            : [];

    private static void PrintHints(CommandContext context, string name, BlockNode node, VhostUserBlkOptions options)
    {
        string path = NativeText.FullPath(options.Path!);
        string queues = options.QueueCount > 1 ? $",num-queues={options.QueueCount}" : "";
        string packed = options.Packed ? ",packed=on" : "";
        string access = options.Writable ? "" : ", read-only";
        context.Print($"Serving '{name}' ({node.DriverName}, {SizeText.ToHuman(node.Length)}{access}) on {path} with {EventLoop.Current.Ring.EngineName}.");
        context.Print("");
        context.Print("A virtual machine connects with:");
        context.Print("  qemu-system-x86_64 -m 1G -object memory-backend-memfd,id=mem,size=1G,share=on -machine q35,memory-backend=mem \\");
        context.Print($"    -chardev socket,id=disk,path={path},reconnect=1 -device vhost-user-blk-pci,chardev=disk{queues}{packed}");
        context.Print("Programs connect with:");
        context.Print($"  ingot img info --image-opts driver=virtio-blk-vhost-user,path={path},cache.direct=on");
        context.Print($"  qemu-img info --image-opts driver=virtio-blk-vhost-user,path={path},cache.direct=on");
        context.Print("");
        context.Print("Ctrl-C stops the server.");
        context.Out.Flush();
    }
}
