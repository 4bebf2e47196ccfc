using System.Numerics;
using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.BlkDebug;

/// <summary>Driver "blkdebug": fails, holds back or misaligns requests as its rules say, for tests of what lies above. Also as "blkdebug:CONFIG:IMAGE".</summary>
public sealed class BlkDebugDriver : BlockDriver
{
    private const string Prefix = "blkdebug:";

    /// <inheritdoc/>
    public override string Name => "blkdebug";

    /// <inheritdoc/>
    public override bool IsProtocol => true;

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        OptionSet options = request.Options;
        string? config = options.TakeString("config");
        if (options.TakeString("filename") is { } name)
        {
            config = TakeName(name, options) ?? config;
        }

        bool hasOptions = options.Names.Any(n => n != "image");
        var rules = DebugRules.Take(options, config);
        long align = options.TakeSize("align") ?? 1;
        if (align is < 1 or >= int.MaxValue || !BitOperations.IsPow2(align))
        {
            throw new OptionException($"Cannot meet constraints with align {align}");
        }

        long maxTransfer = options.TakeSize("max-transfer") ?? 0;
        if (maxTransfer is < 0 or >= int.MaxValue || maxTransfer % align != 0)
        {
            throw new OptionException($"Cannot meet constraints with max-transfer {maxTransfer}");
        }

        var zeroes = ExtentLimits.Take(options, "write-zero", align);
        var discards = ExtentLimits.Take(options, "discard", align);
        ChildNode image = await request.OpenChildAsync("image", request.Flags) ?? throw new OptionException("A block device must be specified for \"image\"");
        return new BlkDebugNode(request.NodeName, image, rules, (int)align, (int)maxTransfer) { Zeroes = zeroes, Discards = discards, Tell = request.Graph.Tell, Config = config, HasOptions = hasOptions };
    }

    // The image's own options may stand beside the name.
    private static string? TakeName(string name, OptionSet options)
    {
        string rest = name.StartsWith(Prefix, StringComparison.Ordinal) ? name[Prefix.Length..] : ":" + name;
        int colon = rest.IndexOf(':');
        if (colon < 0)
        {
            throw new OptionException($"blkdebug requires both config file and image path: '{name}'");
        }

        options.Set("image.filename", rest[(colon + 1)..]);
        return colon > 0 ? rest[..colon] : null;
    }
}

/// <summary>Requests of one kind must be multiples of a size, and not longer than another; 0 for no such demand.</summary>
/// <param name="Unit">What offset and length are multiples of.</param>
/// <param name="Max">The longest.</param>
internal readonly record struct ExtentLimits(long Unit, long Max)
{
    internal static ExtentLimits Take(OptionSet options, string kind, long align)
    {
        long unit = options.TakeSize($"opt-{kind}") ?? 0;
        long max = options.TakeSize($"max-{kind}") ?? 0;
        return unit % align == 0 && max % Math.Max(unit, align) == 0 ? new ExtentLimits(unit, max)
            : throw new OptionException($"Cannot meet constraints with opt-{kind} {unit} and max-{kind} {max}");
    }

    /// <summary>The first of the requests that a range is cut into: parts of a unit at both ends, whole ones between them.</summary>
    internal long FirstPiece(long offset, long length)
    {
        long unit = Math.Max(Unit, 1);
        long ahead = offset % unit;
        long whole = length / unit * unit;
        return ahead > 0 ? Math.Min(length, unit - ahead)
            : whole == 0 ? length
            : Max > 0 ? Math.Min(whole, Max / unit * unit) : whole;
    }
}
