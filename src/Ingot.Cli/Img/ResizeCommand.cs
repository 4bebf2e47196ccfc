using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;

namespace Ingot.Cli;

/// <summary>img resize: changes the virtual size of an image.</summary>
internal static class ResizeCommand
{
    private const string ShrinkWarning = "Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, make sure there is no important data there.";

    public static Command Command { get; } = new(
        "resize",
        "Resize the image to the new size",
        ["[-f FMT | --image-opts] [--preallocation PREALLOC] [--shrink]", "[--object OBJECTDEF] [-q] FILENAME [+-]SIZE[bkKMGTPE]"],
        [
            CommonOptions.Quiet, CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Switch('\0', "shrink", "allow operation when new size is smaller than original"),
            Option.Value('\0', "preallocation", "PREALLOC", "specify preallocation type for the new areas"),
            CommonOptions.Object,
        ],
        [
            ("FILENAME", "image file (specification) to resize"),
            ("[+-]SIZE[bkKMGTPE]", "new image size or amount by which to shrink/grow,\nwith optional suffix (powers of 1024)"),
        ],
        RunAsync)
    {
        LastIsOperand = true,
        IsAct = true,
    };

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        if (arguments.Operands.Count != 2)
        {
            throw new UsageException(arguments.Operands.Count > 2 ? "Extra argument(s) in command line" : "Expecting image file name and size");
        }

        Preallocation preallocation = ParsePreallocation(arguments.Last("preallocation"));
        string text = arguments.Operands[1];
        int sign = text[0] == '+' ? 1 : text[0] == '-' ? -1 : 0;
        long size = ParseSize(sign == 0 ? text : text[1..]);

        BlockNode node = await ImageOpener.OpenAsync(context.NewGraph(), arguments, arguments.Operands[0], OpenFlags.ReadWrite);
        try
        {
            if (!CheckSize(context, arguments, node.Length, ref size, sign, preallocation))
            {
                return 1;
            }

            await node.ResizeAsync(size, preallocation);
            await node.FlushAsync();
            context.Print("Image resized.");
            return 0;
        }
        finally
        {
            await node.CloseAsync();
        }
    }

    private static long ParseSize(string text)
    {
        const decimal TwoTo63 = 9223372036854775808m;
        return SizeText.TryParse(text, out long size) ? size
            : !SizeText.TryParseLarge(text, out decimal large) ? throw new UsageException($"Parameter 'size' {SizeText.Expectation}") { HasHint = false }
            : large < 2 * TwoTo63 ? 0 // which is refused as not positive, as a 64-bit number with its sign bit set is
            : throw new UsageException($"Value '{text}' is out of range for parameter 'size'") { HasHint = false };
    }

    private static bool CheckSize(CommandContext context, Arguments arguments, long current, ref long size, int sign, Preallocation preallocation)
    {
        if (sign != 0 && size > (sign > 0 ? long.MaxValue - current : current))
        {
            size = sign > 0 ? long.MaxValue : 0;
        }
        else if (sign != 0)
        {
            size = current + (sign * size);
        }

        if (size <= 0)
        {
            throw new OptionException("New image size must be positive");
        }

        if (size <= current && preallocation != Preallocation.Off)
        {
            throw new OptionException("Preallocation can only be used for growing images");
        }

        if (size < current && !arguments.Has("shrink"))
        {
            context.Report("Use the --shrink option to perform a shrink operation.");
            context.Warn(ShrinkWarning);
            return false;
        }

        return true;
    }

    private static Preallocation ParsePreallocation(string? text) => text switch
    {
        null or "off" => Preallocation.Off,
        "metadata" => Preallocation.Metadata,
        "falloc" => Preallocation.Falloc,
        "full" => Preallocation.Full,
        _ => throw new UsageException($"Invalid preallocation mode '{text}'") { HasHint = false },
    };
}
