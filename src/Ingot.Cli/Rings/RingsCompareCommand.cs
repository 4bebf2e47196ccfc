using Ingot.Io;
using Ingot.Rings.Lab;

namespace Ingot.Cli;

/// <summary>rings compare: what is said about ring designs, and whether it is so.</summary>
internal static class RingsCompareCommand
{
    public static Command Command { get; } = new(
        "compare",
        "Compare ring designs by what they can hold, and who frees an entry when",
        ["[--output OFMT]"],
        [CommonOptions.Output],
        [],
        Run);

    private static IoTask<int> Run(CommandContext context, Arguments arguments)
    {
        IReadOnlyList<RingFact> facts = RingFacts.Establish();
        if (CommonOptions.IsJson(arguments))
        {
            PrintJson(context, facts);
        }
        else
        {
            PrintText(context, facts);
        }

        return new IoTask<int>(facts.All(f => f.Holds) ? 0 : 1);
    }

    private static void PrintText(CommandContext context, IReadOnlyList<RingFact> facts)
    {
        foreach (IGrouping<string, RingFact> topic in facts.GroupBy(f => f.Topic))
        {
            context.Out.WriteLine($"{char.ToUpperInvariant(topic.Key[0])}{topic.Key[1..]}");
            foreach (RingFact fact in topic)
            {
                context.Out.WriteLine($"  {(fact.Holds ? "yes" : "NO ")} {fact.Statement}.");
                context.Out.WriteLine($"      {fact.Evidence}");
            }

            context.Out.WriteLine();
        }
    }

    private static void PrintJson(CommandContext context, IReadOnlyList<RingFact> facts)
    {
        var printer = new JsonPrinter(context.Out);
        printer.BeginArray();
        foreach (RingFact fact in facts)
        {
            printer.BeginObject();
            printer.Member("topic", fact.Topic);
            printer.Member("statement", fact.Statement);
            printer.Member("evidence", fact.Evidence);
            printer.Member("holds", fact.Holds);
            printer.EndObject();
        }

        printer.EndArray();
    }
}
