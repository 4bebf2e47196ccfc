using Ingot.Io;
using Ingot.Linux;
using Ingot.Rings;
using Ingot.Rings.Lab;

namespace Ingot.Cli;

/// <summary>rings device: the device's side of 'rings bench --processes'. Inherits its descriptors, and is of no use to people.</summary>
internal static class RingsDeviceCommand
{
    public static Command Command { get; } = new(
        "device",
        "The device's side of 'rings bench --processes'",
        ["--memory FD --kick FD --call FD --workload DESIGN,SIZE,DEPTH,BATCH,SEGMENTS,QUEUES,WAKEUP,ORDER"],
        [
            Option.Value('\0', "memory", "FD", "the shared memory"),
            Option.Value('\0', "kick", "FD", "the eventfd of the device"),
            Option.Value('\0', "call", "FD", "the eventfd of the driver"),
            Option.Value('\0', "workload", "...", "what 'rings bench' has"),
        ],
        [],
        Run);

    /// <summary>A workload as one word.</summary>
    /// <param name="s">The workload.</param>
    /// <returns>What <see cref="Parse"/> takes.</returns>
    public static string Format(LabSettings s)
        => string.Join(',', s.Design.Name, s.QueueSize, s.Depth, s.Batch, s.Segments, s.Queues, (int)s.Wakeup, (int)s.Order);

    private static LabSettings Parse(string text)
    {
        string[] words = text.Split(',');
        RingDesign? design = RingDesigns.Find(words[0]);
        int[] numbers = [.. words.Skip(1).Select(w => int.TryParse(w, out int number) ? number : -1)];
        return design is null || numbers.Length != 7
            ? throw new UsageException($"'{text}' is no workload")
            : new LabSettings
            {
                Design = design,
                QueueSize = numbers[0],
                Depth = numbers[1],
                Batch = numbers[2],
                Segments = numbers[3],
                Queues = numbers[4],
                Wakeup = (Wakeup)numbers[5],
                Order = (AnswerOrder)numbers[6],
            };
    }

    private static IoTask<int> Run(CommandContext context, Arguments arguments)
    {
        using FileDescriptor memory = Inherited(arguments, "memory");
        using FileDescriptor kick = Inherited(arguments, "kick");
        using FileDescriptor call = Inherited(arguments, "call");
        LabRun.RunDevice(Parse(arguments.Last("workload") ?? ""), memory, kick, call);
        return new IoTask<int>(0);
    }

    private static FileDescriptor Inherited(Arguments arguments, string name)
        => new((int)(arguments.Size(name, $"{name} descriptor", 0, int.MaxValue) ?? throw new UsageException($"Expecting --{name} FD")));
}
