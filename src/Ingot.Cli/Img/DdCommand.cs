using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>img dd: copies blocks of an image into a new one.</summary>
internal static class DdCommand
{
    private const int Sector = 512;

    public static Command Command { get; } = new(
        "dd",
        "Copy input to output with optional format conversion",
        ["[-f FMT|--image-opts] [-O OUTPUT_FMT] [-U]", "[bs=BLOCK_SIZE] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT"],
        [
            Option.Value('f', "format", "FMT", "specify format for INPUT explicitly"),
            Option.Switch('\0', "image-opts", "indicates that INPUT is a complete image specification\ninstead of a file name (incompatible with --format)"),
            Option.Value('O', "output-format", "OUTPUT_FMT", "format of the OUTPUT (default raw)"),
            CommonOptions.ForceShare,
            CommonOptions.Untrusted,
            CommonOptions.Object,
        ],
        [
            ("bs=BLOCK_SIZE[bkKMGTPE]", "size of I/O block (default 512)"),
            ("count=COUNT", "number of blocks to convert (default whole INPUT)"),
            ("skip=COUNT", "number of blocks of INPUT to leave out (default none)"),
            ("if=INPUT", "input file name (or image specification with --image-opts)"),
            ("of=OUTPUT", "output file name to create"),
        ],
        RunAsync)
    {
        IsAct = true,
    };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        Operands operands = Parse(arguments.Operands);
        BlockDriver driver = DriverTable.Find(arguments.Last("output-format") ?? "raw") ?? throw new OptionException("Unknown file format");
        BlockGraph graph = context.NewGraph();
        using var interrupts = new Interrupts();
        BlockNode source = await ImageOpener.OpenAsync(graph, arguments, operands.Input!, OpenFlags.None);
        try
        {
            await CopyAsync(context, graph, source, driver, operands, interrupts);
            return 0;
        }
        catch (OperationCanceledException)
        {
            return interrupts.ExitStatus;
        }
        finally
        {
            await source.CloseAsync();
        }
    }

    private static async IoTask CopyAsync(CommandContext context, BlockGraph graph, BlockNode source, BlockDriver driver, Operands operands, Interrupts interrupts)
    {
        // As in QEMU, the count is of the input's blocks from its start on, those that are skipped included.
        long end = Math.Min(source.Length, Multiply(operands.Count, operands.BlockLength));
        long start = Math.Min(Multiply(operands.Skip, operands.BlockLength), end);
        if (Multiply(operands.Skip, operands.BlockLength) > end)
        {
            context.Report($"{operands.Input}: cannot skip to specified offset");
        }

        ImageCreation.CheckProtocol(operands.Output!);
        using NewFile file = await CreateAsync(graph, driver, operands.Output!, end - start);
        interrupts.LastAct = file.Dispose;
        try
        {
            BlockNode target = await ImageOpener.OpenAsync(graph, file.Path, false, driver.Name, OpenFlags.ReadWrite);
            bool isZero = (target.Features & BlockFeatures.ZeroInitialized) != 0;
            await CopyAndCloseAsync(source, target, new CopyOptions { SourceOffset = start, Length = end - start, TargetIsZero = isZero }, interrupts);
            file.Commit();
        }
        catch (ErrnoException e)
        {
            throw file.Named(e);
        }
    }

    private static async IoTask CopyAndCloseAsync(BlockNode source, BlockNode target, CopyOptions options, Interrupts interrupts)
    {
        try
        {
            await new BlockCopier(source, target, options) { Cancellation = interrupts.Token }.RunAsync();
        }
        catch
        {
            await target.CloseAsync().Status();
            throw;
        }

        await target.CloseAsync();
    }

    private static async IoTask<NewFile> CreateAsync(BlockGraph graph, BlockDriver driver, string output, long length)
    {
        NewFile? file = null;
        try
        {
            file = await NewFile.PrepareAsync(graph, output);
            await ImageCreation.CreateAsync(graph, driver, file.Path, (length + Sector - 1) / Sector * Sector, new OptionSet());
            return file;
        }
        catch (ErrnoException e)
        {
            file?.Dispose();
            string message = file?.Rename(e.Message) ?? e.Message;
            throw new ErrnoException(e.Errno, $"{output}: error while creating output image: {message}", e);
        }
    }

    private static Operands Parse(IReadOnlyList<string> words)
    {
        var operands = new Operands();
        foreach (string word in words)
        {
            int equals = word.IndexOf('=');
            string name = equals < 0 ? word : word[..equals];
            string value = equals < 0 ? "" : word[(equals + 1)..];
            operands = (equals < 0 ? "" : name) switch
            {
                "bs" => operands with { BlockLength = Arguments.ParseSize(value, "bs", 1, int.MaxValue) },
                "count" => operands with { Count = Arguments.ParseNumber(value, "count") },
                "skip" => operands with { Skip = Arguments.ParseNumber(value, "skip") },
                "if" => operands with { Input = value },
                "of" => operands with { Output = value },
                _ => throw new UsageException($"unrecognized operand {name}") { HasHint = false },
            };
        }

        return operands.Input is not null && operands.Output is not null ? operands
            : throw new UsageException("Must specify both input and output files") { HasHint = false };
    }

    private static long Multiply(long blocks, long length) => blocks > long.MaxValue / length ? long.MaxValue : blocks * length;

    private sealed record Operands
    {
        public string? Input { get; init; }

        public string? Output { get; init; }

        public long BlockLength { get; init; } = 512;

        public long Count { get; init; } = long.MaxValue;

        public long Skip { get; init; }
    }
}
