using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;

namespace Ingot.Cli;

/// <summary>img info: what an image is.</summary>
internal static class InfoCommand
{
    public static Command Command { get; } = new(
        "info",
        "Display information about image",
        ["[-f FMT | --image-opts] [-b] [-U] [--object OBJDEF]", "[--output human|json] FILENAME"],
        [
            CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Switch('b', "backing-chain", "display information about the backing chain\n(in case the image is stacked)"),
            CommonOptions.ForceShare, CommonOptions.Object, CommonOptions.Output,
        ],
        [("FILENAME", "image file name (or specification with --image-opts)")],
        RunAsync);

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        bool isJson = CommonOptions.IsJson(arguments);
        if (arguments.Operands.Count != 1)
        {
            throw new UsageException("Expecting one image file name");
        }

        bool isChain = arguments.Has("backing-chain");
        List<NodeFacts> chain = await CollectAsync(context, arguments, isChain);
        if (isJson)
        {
            PrintJson(context, chain, isChain);
            return 0;
        }

        for (int i = 0; i < chain.Count; i++)
        {
            if (i > 0)
            {
                context.Out.WriteLine();
            }

            InfoPrinter.Print(context.Out, chain[i]);
        }

        return 0;
    }

    private static void PrintJson(CommandContext context, List<NodeFacts> chain, bool isChain)
    {
        var json = new JsonPrinter(context.Out);
        if (!isChain)
        {
            InfoJson.Print(json, chain[0]);
            return;
        }

        json.BeginArray();
        foreach (NodeFacts facts in chain)
        {
            InfoJson.Print(json, facts);
        }

        json.EndArray();
    }

    // Every image is opened alone, so that facts come even when one behind it is missing or broken.
    private static async IoTask<List<NodeFacts>> CollectAsync(CommandContext context, Arguments arguments, bool isChain)
    {
        const OpenFlags Flags = OpenFlags.NoBacking | OpenFlags.NoIo;
        BlockGraph graph = context.NewGraph();
        string name = arguments.Operands[0];
        var chain = new List<NodeFacts>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        BlockNode node = await ImageOpener.OpenAsync(graph, arguments, name, Flags);
        while (true)
        {
            if (!seen.Add(name))
            {
                await node.CloseAsync();
                throw new OptionException($"Backing file '{name}' creates an infinite loop.");
            }

            NodeFacts facts = await NodeFacts.CollectAsync(node);
            await node.CloseAsync();
            chain.Add(facts);
            if (!isChain || (facts.Info.FullBackingFileName ?? facts.Info.BackingFileName) is not { } next)
            {
                return chain;
            }

            if (arguments.Has("untrusted"))
            {
                throw new OptionException($"Untrusted image '{name}' names the backing file '{next}', which is not opened");
            }

            name = next;
            OpenFlags share = arguments.Has("force-share") ? OpenFlags.ForceShare : OpenFlags.None;
            node = await ImageOpener.OpenAsync(graph, name, false, facts.Info.BackingFormat, Flags | share);
        }
    }
}
