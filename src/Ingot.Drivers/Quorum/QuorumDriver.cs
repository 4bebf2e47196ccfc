using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Quorum;

/// <summary>Driver "quorum": the same data on several children; reads are decided by vote, or by the first child that answers.</summary>
public sealed class QuorumDriver : BlockDriver
{
    /// <inheritdoc/>
    public override string Name => "quorum";

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        OptionSet options = request.Options;
        IReadOnlyList<object> references = TakeChildren(options);
        if (references.Count == 0)
        {
            throw new OptionException("Number of provided children must be 1 or more");
        }

        var rules = QuorumRules.Take(options, references.Count);
        if (rules.Rewrites && !request.IsReadWrite)
        {
            throw new ErrnoException(Errno.EACCES, "Block node is read-only");
        }

        var children = new List<ChildNode>();
        try
        {
            foreach (object reference in references)
            {
                children.Add((await request.Graph.OpenImageChildAsync(reference, "children", request.Flags))!.Value);
            }

            return children.All(c => c.Node.Length == children[0].Node.Length)
                ? new QuorumNode(request.NodeName, children, rules, request.IsReadWrite) { Diverged = request.Graph.Diverged }
                : throw new ErrnoException(Errno.EIO, "Could not refresh total sector count: Input/output error");
        }
        catch
        {
            foreach (ChildNode child in children)
            {
                await child.CloseAsync();
            }

            throw;
        }
    }

    private static IReadOnlyList<object> TakeChildren(OptionSet options)
    {
        try
        {
            return options.TakeList("children");
        }
        catch (OptionException)
        {
            throw new OptionException("Option children is not a valid array");
        }
    }
}

/// <summary>How a quorum decides.</summary>
/// <param name="Threshold">Children that must agree.</param>
/// <param name="IsFifo">Whether reads ask one child after the other until one answers.</param>
/// <param name="Verifies">Whether two children that differ are a defect of one of them, to be told at once.</param>
/// <param name="Rewrites">Whether children that were outvoted get what the others have.</param>
internal sealed record QuorumRules(int Threshold, bool IsFifo, bool Verifies, bool Rewrites)
{
    internal static QuorumRules Take(OptionSet options, int count)
    {
        long threshold = options.TakeNumber("vote-threshold", 0) ?? 0;
        string pattern = options.TakeString("read-pattern") ?? "quorum";
        bool verifies = options.TakeBool("blkverify") ?? false;
        bool rewrites = options.TakeBool("rewrite-corrupted") ?? false;
        bool votes = pattern == "quorum";
        string? message = threshold < 1 ? "Parameter 'vote-threshold' expects a value >= 1"
            : threshold > count ? "threshold may not exceed children count"
            : pattern is not ("quorum" or "fifo") ? "Please set read-pattern as fifo or quorum"
            : votes && verifies && (count != 2 || threshold != 2) ? "blkverify=on can only be set if there are exactly two files and vote-threshold is 2"
            : votes && verifies && rewrites ? "rewrite-corrupted=on cannot be used with blkverify=on"
            : null;
        return message is null ? new QuorumRules((int)threshold, !votes, verifies, rewrites) : throw new OptionException(message);
    }
}
