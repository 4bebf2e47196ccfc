using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>storage-daemon: block devices and exports from the command line, until a signal comes. Options act in the order in which they are given.</summary>
internal static class DaemonCommand
{
    public static Command Command { get; } = new(
        "",
        "Serve block devices from one process",
        ["[--object OBJECT]... [--blockdev NODE]... [--export EXPORT]...", "[--pidfile FILE] [--daemonize]"],
        [
            Option.Switch('V', "version", "print the version and exit"),
            Option.Value('\0', "blockdev", "driver=DRIVER,node-name=NAME,...", "open a node; also as JSON"),
            Option.Value('\0', "export", "type=vhost-user-blk,id=ID,node-name=NAME,addr.type=unix,addr.path=PATH",
                "export a node: [,writable=on][,num-queues=N][,packed=on][,embedded=on][,register-memory=on][,logical-block-size=N][,iothread=ID];\nqueues on several threads: iothread-vq-mapping.0.iothread=ID[,iothread-vq-mapping.0.vqs.0=N...],iothread-vq-mapping.1...;\naddr.type=fd,addr.str=N takes a listening socket from our parent"),
            Option.Value('\0', "object", "iothread,id=ID", "a thread that serves queues: [,poll-max-ns=N]"),
            Option.Value('\0', "pidfile", "FILE", "write the process id to a file, which is removed at the end"),
            Option.Switch('\0', "daemonize", "go to the background once everything is up"),
            Option.Value('\0', "chardev", "CHARDEV", "not in this version"),
            Option.Value('\0', "monitor", "MONITOR", "not in this version"),
            Option.Value('\0', "nbd-server", "SERVER", "not in this version"),
            Option.Value('T', "trace", "TRACE", "accepted and ignored"),
        ],
        [],
        RunAsync);

    private static IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        if (arguments.Has("version"))
        {
            context.Out.WriteLine($"{context.Program} version {Program.Version} (Ingot)");
            return new IoTask<int>(0);
        }

        if (arguments.Operands.Count > 0)
        {
            throw new UsageException($"Unexpected argument '{arguments.Operands[0]}'");
        }

        return arguments.Has("daemonize") && !Background.IsChild ? new IoTask<int>(Background.Start()) : ServeAsync(context, arguments);
    }

    private static async IoTask<int> ServeAsync(CommandContext context, Arguments arguments)
    {
        using var signals = new Interrupts();
        using PidFile? pidFile = arguments.Last("pidfile") is { } path ? PidFile.Create(path) : null;
        var daemon = new StorageDaemon(context);
        try
        {
            foreach ((string name, string? value) in arguments.Options)
            {
                await ActAsync(daemon, name, value!);
            }

            if (Background.IsChild)
            {
                Background.Detach();
            }

            await WaitAsync(signals.Token);
        }
        finally
        {
            await daemon.StopAsync();
        }

        return 0;
    }

    private static async IoTask ActAsync(StorageDaemon daemon, string name, string value)
    {
        try
        {
            await DispatchAsync(daemon, name, value);
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"--{name} {value}: {e.Message}", e);
        }
    }

    private static IoTask DispatchAsync(StorageDaemon daemon, string name, string value)
    {
        switch (name)
        {
            case "blockdev":
                return daemon.AddNodeAsync(Parse(value, "driver"));
            case "export":
                return daemon.AddExportAsync(Parse(value, "type"));
            case "object":
                daemon.AddObject(Parse(value, "qom-type"));
                return IoTask.Completed;
            case "chardev" or "monitor" or "nbd-server":
                throw new OptionException("This option is not part of this version of ingot yet");
            default:
                return IoTask.Completed;
        }
    }

    private static OptionSet Parse(string text, string implicitName)
        => text.StartsWith('{') ? JsonText.Parse(text, "Could not parse the JSON options") : KeyValueText.Parse(text, implicitName);

    private static async IoTask WaitAsync(CancellationToken stop)
    {
        var stopped = new IoCompletionSource();
        EventLoop loop = EventLoop.Current;
        using CancellationTokenRegistration registration = stop.Register(() => loop.Post(stopped.SetResult));
        await stopped.Task;
    }
}
