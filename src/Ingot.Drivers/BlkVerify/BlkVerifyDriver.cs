using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.BlkVerify;

/// <summary>Driver "blkverify": what an image reads as is compared with a raw copy that gets the same writes. Also as "blkverify:RAW:IMAGE".</summary>
public sealed class BlkVerifyDriver : BlockDriver
{
    private const string Prefix = "blkverify:";

    /// <inheritdoc/>
    public override string Name => "blkverify";

    /// <inheritdoc/>
    public override bool IsProtocol => true;

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        OptionSet options = request.Options;
        if (options.TakeString("filename") is { } name)
        {
            TakeName(name, options);
        }

        ChildNode raw = await request.OpenRequiredChildAsync("raw");
        try
        {
            ChildNode test = await request.Graph.OpenImageChildAsync(options.TakeReference("test"), "test", request.Flags)
                ?? throw new OptionException("A block device must be specified for \"test\"");
            return new BlkVerifyNode(request.NodeName, raw, test, request.IsReadWrite) { Diverged = request.Graph.Diverged };
        }
        catch
        {
            await raw.CloseAsync();
            throw;
        }
    }

    // Without the prefix the name is that of the image, and options tell the copy.
    private static void TakeName(string name, OptionSet options)
    {
        if (!name.StartsWith(Prefix, StringComparison.Ordinal))
        {
            options.Set("test.file.filename", name);
            return;
        }

        string rest = name[Prefix.Length..];
        int colon = rest.IndexOf(':');
        if (colon < 0)
        {
            throw new OptionException("blkverify requires raw copy and original image path");
        }

        options.Set("raw.filename", rest[..colon]);
        options.Set("test.file.filename", rest[(colon + 1)..]);
    }
}
