using System.Globalization;
using Ingot.Block;
using Ingot.Io;
using Ingot.Jobs;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>img map: where the data of an image lies.</summary>
internal static class MapCommand
{
    public static Command Command { get; } = new(
        "map",
        "Dump image metadata",
        ["[-f FMT | --image-opts] [--object OBJDEF] [--output human|json]", "[--start-offset OFFSET] [--max-length LENGTH] [-U] FILENAME"],
        [
            CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted,
            Option.Value('s', "start-offset", "OFFSET", "first byte to look at (0)"),
            Option.Value('l', "max-length", "LENGTH", "how many bytes to look at (all)"),
            CommonOptions.Output, CommonOptions.ForceShare, CommonOptions.Object,
        ],
        [("FILENAME", "image file name (or specification with --image-opts)")],
        RunAsync);

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        bool isJson = CommonOptions.IsJson(arguments);
        long start = arguments.Size("start-offset", "start offset") ?? 0;
        long? length = arguments.Size("max-length", "max length");
        if (arguments.Operands.Count != 1)
        {
            throw new UsageException("Expecting one image file name");
        }

        BlockNode node = await ImageOpener.OpenAsync(context.NewGraph(), arguments, arguments.Operands[0], Drivers.OpenFlags.Sequential);
        try
        {
            long end = length is { } max && max < node.Length - start ? start + max : node.Length;
            var map = new ImageMap(node, start, end);
            await (isJson ? PrintJsonAsync(context.Out, map, start) : PrintHumanAsync(context.Out, map));
            return 0;
        }
        finally
        {
            await node.CloseAsync();
        }
    }

    private static async IoTask PrintHumanAsync(TextWriter o, ImageMap map)
    {
        o.WriteLine($"{"Offset",-16}{"Length",-16}{"Mapped to",-16}File");
        while (await map.NextAsync() is { } entry)
        {
            Extent extent = entry.Extent;
            if (!extent.IsData || extent.IsZero)
            {
                continue;
            }

            if ((extent.Flags & ExtentFlags.OffsetValid) == 0)
            {
                throw new ErrnoException(Errno.ENOTSUP, "File contains external, encrypted or compressed clusters.");
            }

            WriteHex(o, extent.Offset);
            WriteHex(o, extent.Length);
            WriteHex(o, extent.HostOffset);
            o.WriteLine((extent.HostNode ?? entry.Node).FileName);
        }
    }

    private static async IoTask PrintJsonAsync(TextWriter o, ImageMap map, long start)
    {
        string separator = "[";
        while (await map.NextAsync() is { } entry)
        {
            o.Write(separator);
            WriteJson(o, entry);
            separator = ",\n";
        }

        if (separator == "[")
        {
            // What an empty range gives, also one beyond the end.
            o.Write(separator);
            WriteJson(o, new ChainExtent(new Extent(start, 0, ExtentFlags.None), 0, map.Node));
        }

        o.WriteLine(']');
    }

    // A fragmented image has millions of entries: no strings are made for them.
    private static void WriteJson(TextWriter o, ChainExtent entry)
    {
        Extent e = entry.Extent;
        Span<char> text = stackalloc char[256];
        text.TryWrite(
            CultureInfo.InvariantCulture,
            $"{{ \"start\": {e.Offset}, \"length\": {e.Length}, \"depth\": {entry.Depth}, \"present\": {Bool(e.IsAllocated)}, \"zero\": {Bool(e.IsZero)}, \"data\": {Bool(e.IsData)}, \"compressed\": {Bool((e.Flags & ExtentFlags.Compressed) != 0)}",
            out int length);
        o.Write(text[..length]);
        if ((e.Flags & ExtentFlags.OffsetValid) != 0)
        {
            text.TryWrite(CultureInfo.InvariantCulture, $", \"offset\": {e.HostOffset}", out length);
            o.Write(text[..length]);
        }

        o.Write('}');
    }

    private static string Bool(bool value) => value ? "true" : "false";

    // printf's %#-16x: zero has no prefix.
    private static void WriteHex(TextWriter o, long value)
    {
        const int Width = 16;
        Span<char> text = stackalloc char[18];
        text.Fill(' ');
        int length = 1;
        text[0] = '0';
        if (value != 0)
        {
            text.TryWrite(CultureInfo.InvariantCulture, $"0x{value:x}", out length);
        }

        o.Write(text[..Math.Max(Width, length)]);
    }
}
