using Ingot.Io;

namespace Ingot.Cli;

/// <summary>One command of a tool: its words for help, its options, and what it does.</summary>
/// <param name="Name">The word on the command line.</param>
/// <param name="Summary">One sentence without a full stop.</param>
/// <param name="Synopsis">What follows the name; further lines are indented by help.</param>
/// <param name="Options">Without --help, which every command has.</param>
/// <param name="Operands">Name and help of each operand.</param>
/// <param name="Run">The command; gets the exit status back.</param>
internal sealed record Command(
    string Name,
    string Summary,
    string[] Synopsis,
    Option[] Options,
    (string Name, string Help)[] Operands,
    Func<CommandContext, Arguments, IoTask<int>> Run)
{
    /// <summary>The option that every command has.</summary>
    public static Option Help { get; } = Option.Switch('h', "help", "print this help and exit");

    /// <summary>All options, help included.</summary>
    public IReadOnlyList<Option> AllOptions { get; } = [Help, .. Options];

    /// <summary>Exit status after an error that has nothing more special.</summary>
    public int ErrorStatus { get; init; } = 1;

    /// <summary>Engine and polling of the loop that runs the command.</summary>
    public Func<Arguments, EventLoopOptions> LoopOptions { get; init; } = _ => EventLoopOptions.Default;

    /// <summary>
    /// True when a command is there for what it does to an image: that nobody could read what it printed is no failure then, and false when what it prints
    /// is its result.
    /// </summary>
    public bool IsAct { get; init; }

    /// <summary>True when a last word such as -1G is an operand: a size to shrink by.</summary>
    public bool LastIsOperand { get; init; }
}
