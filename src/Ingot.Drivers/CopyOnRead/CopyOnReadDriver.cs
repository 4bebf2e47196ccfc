using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.CopyOnRead;

/// <summary>Driver "copy-on-read": what is read from a backing file is stored in the image above it, so that it need not be read from there again.</summary>
public sealed class CopyOnReadDriver : BlockDriver
{
    /// <inheritdoc/>
    public override string Name => "copy-on-read";

    /// <summary>Puts copying over an image that is open already.</summary>
    /// <param name="image">The image; closed with the new node.</param>
    /// <returns>The new node; looks like the image in all other respects.</returns>
    /// <exception cref="ErrnoException">The image is read-only.</exception>
    public static BlockNode Over(BlockNode image) => image.IsReadOnly
        ? throw new ErrnoException(Errno.EINVAL, "Can't use copy-on-read on read-only device")
        : new CopyOnReadNode(null, new ChildNode(image, IsOwned: true), true, null) { IsPartOfImage = true };

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        string? bottomName = request.Options.TakeString("bottom");
        ChildNode file = await request.OpenRequiredChildAsync("file");
        try
        {
            BlockNode? bottom = bottomName is null ? null : request.Graph.Find(bottomName) ?? throw new OptionException($"Bottom node '{bottomName}' not found");
            if (bottom is not null && !IsBelow(bottom, file.Node))
            {
                throw new OptionException($"Bottom node '{bottomName}' is not behind node '{file.Node.Name}'");
            }

            return file.Node.IsReadOnly
                ? throw new ErrnoException(Errno.EPERM, "Block node is read-only")
                : new CopyOnReadNode(request.NodeName, file, request.IsReadWrite, bottom);
        }
        catch
        {
            await file.CloseAsync();
            throw;
        }
    }

    private static bool IsBelow(BlockNode bottom, BlockNode top)
    {
        BlockNode? node = top.Backing;
        while (node is not null && node != bottom)
        {
            node = node.Backing;
        }

        return node is not null;
    }
}
