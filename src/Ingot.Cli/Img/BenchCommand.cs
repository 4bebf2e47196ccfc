using System.Globalization;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.VhostUserBlk;
using Ingot.Io;
using Ingot.Jobs;
using Ingot.Linux;
using Ingot.Virtio.Memory;

namespace Ingot.Cli;

/// <summary>img bench: sends equal requests and takes the time.</summary>
internal static class BenchCommand
{
    public static Command Command { get; } = new(
        "bench",
        "Run simple image benchmark",
        [
            "[-f FMT | --image-opts] [-t CACHE] [-c COUNT] [-d DEPTH]",
            "[-o OFFSET] [-s BUFFER_SIZE] [-S STEP_SIZE] [-i AIO] [-n]",
            "[-w [--pattern PATTERN] [--flush-interval INTERVAL [--no-drain]]]",
            "[-q] [-U] FILENAME",
        ],
        [
            CommonOptions.Quiet, CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Value('t', "cache", "CACHE", "cache mode for FILENAME (writeback)"),
            Option.Value('c', "count", "COUNT", "number of I/O requests to perform"),
            Option.Value('s', "buffer-size", "BUFFER_SIZE", "size of each I/O request"),
            Option.Value('d', "depth", "DEPTH", "number of requests to perform in parallel"),
            Option.Value('o', "offset", "OFFSET", "start first request at this OFFSET"),
            Option.Value('S', "step-size", "STEP_SIZE", "each next request offset increment"),
            Option.Value('i', "aio", "AIO", "async-io backend (threads, native, io_uring)"),
            Option.Switch('n', "native", "use native AIO backend if possible"),
            Option.Switch('w', "write", "perform write test (default is read)"),
            Option.Value('\0', "pattern", "PATTERN", "write this pattern byte instead of zero"),
            Option.Value('\0', "flush-interval", "FLUSH_INTERVAL", "issue flush after this number of requests"),
            Option.Switch('\0', "no-drain", "do not wait when flushing pending requests"),
            CommonOptions.ForceShare,
            CommonOptions.Object,
        ],
        [("FILENAME", "image file name (or specification with --image-opts)")],
        RunAsync)
    {
        LoopOptions = arguments => EventLoopOptions.Default with { Engine = arguments.Last("aio") == "threads" ? IoEngine.Threads : IoEngine.Auto },
    };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        BenchOptions options = Parse(arguments);
        if (arguments.Operands.Count != 1)
        {
            throw new UsageException("Expecting one image file name");
        }

        OpenFlags flags = CacheFlags(arguments.Last("cache"));
        if (arguments.Has("native") || arguments.Last("aio") == "native")
        {
            flags |= OpenFlags.NativeAio;
        }

        BlockNode node = await ImageOpener.OpenAsync(context.NewGraph(), arguments, arguments.Operands[0], options.IsWrite ? flags | OpenFlags.ReadWrite : flags);
        using SharedMemoryRegion? memory = await ShareMemoryAsync(node, options);
        var job = new BenchJob(node, memory is null ? options : options with { Memory = memory.Vector });
        PrintPlan(context, options, job.Step);
        TimeSpan time;
        try
        {
            time = await job.RunAsync();
        }
        catch (ErrnoException e)
        {
            await node.CloseAsync().Status();
            throw ErrnoException.For(e.Errno, "Failed request");
        }

        PrintResult(context, options, time);
        await node.CloseAsync();
        return 0;
    }

    // A server that can map the buffers needs no copy of what is read and written.
    private static async IoTask<SharedMemoryRegion?> ShareMemoryAsync(BlockNode node, BenchOptions options)
    {
        const long MostMemory = 256 << 20;
        long bytes = (long)options.Length * options.Depth;
        if (node is not VhostUserBlkNode served || bytes > MostMemory)
        {
            return null;
        }

        var memory = new SharedMemoryRegion("ingot-bench", bytes);
        try
        {
            await served.RegisterAsync(memory);
            return memory;
        }
        catch (ErrnoException)
        {
            // A server that maps no more memory gets copies.
            memory.Dispose();
            return null;
        }
    }

    private static BenchOptions Parse(Arguments arguments)
    {
        if (arguments.Last("aio") is { } aio && aio is not ("threads" or "native" or "io_uring"))
        {
            throw Refuse($"Invalid aio option: {aio}");
        }

        var options = new BenchOptions
        {
            Count = (int)(arguments.Number("count", "request count", 1, int.MaxValue) ?? 75_000),
            Depth = (int)(arguments.Number("depth", "queue depth", 1, int.MaxValue) ?? 64),
            Length = (int)(arguments.Size("buffer-size", "buffer size", 1, int.MaxValue) ?? 4096),
            Step = arguments.Size("step-size", "step size", 0, int.MaxValue) ?? 0,
            Offset = arguments.Size("offset", "offset") ?? 0,
            IsWrite = arguments.Has("write"),
            Pattern = (byte)(arguments.Number("pattern", "pattern byte", 0, 255) ?? 0),
            FlushInterval = (int)(arguments.Number("flush-interval", "flush interval", 0, int.MaxValue) ?? 0),
            DrainsForFlush = !arguments.Has("no-drain"),
        };
        if (!options.IsWrite && options.FlushInterval > 0)
        {
            throw Refuse("--flush-interval is only available in write tests");
        }

        return options.FlushInterval > 0 && options.FlushInterval < options.Depth ? throw Refuse("Flush interval can't be smaller than depth") : options;
    }

    private static OpenFlags CacheFlags(string? mode)
    {
        try
        {
            return ImageOpener.CacheFlags(mode, "writeback", "cache");
        }
        catch (UsageException)
        {
            throw Refuse("Invalid cache mode");
        }
    }

    private static UsageException Refuse(string message) => new(message) { HasHint = false };

    private static void PrintPlan(CommandContext context, BenchOptions options, long step)
    {
        string kind = options.IsWrite ? "write" : "read";
        context.Out.WriteLine($"Sending {options.Count} {kind} requests, {options.Length} bytes each, {options.Depth} in parallel (starting at offset {options.Offset}, step size {step})");
        if (options.FlushInterval > 0)
        {
            context.Out.WriteLine($"Sending flush every {options.FlushInterval} requests");
        }

        context.Out.Flush();
    }

    private static void PrintResult(CommandContext context, BenchOptions options, TimeSpan time)
    {
        double seconds = Math.Max(time.TotalSeconds, 1e-9);
        double mebibytes = options.Count * (double)options.Length / seconds / (1 << 20);
        context.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Run completed in {time.TotalSeconds:F3} seconds."));
        context.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{options.Count / seconds:F0} IOPS, {mebibytes:F1} MiB/s"));
    }
}
