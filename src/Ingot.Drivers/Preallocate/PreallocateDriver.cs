using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Preallocate;

/// <summary>Driver "preallocate": a file that grows is given space in large pieces, which makes growth cheap and keeps it in few extents.</summary>
public sealed class PreallocateDriver : BlockDriver
{
    private const int Sector = 512;
    private const long DefaultAlign = 1 << 20;
    private const long DefaultSize = 128 << 20;

    /// <inheritdoc/>
    public override string Name => "preallocate";

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        long align = request.Options.TakeSize("prealloc-align") ?? DefaultAlign;
        long size = request.Options.TakeSize("prealloc-size") ?? DefaultSize;
        ChildNode file = await request.OpenRequiredChildAsync("file");
        try
        {
            int alignment = Math.Max(file.Node.Limits.RequestAlignment, 1);
            string? message = align < 1 || align % Sector != 0 ? $"prealloc-align parameter of preallocate filter is not aligned to {Sector}"
                : align % alignment != 0 ? $"prealloc-align parameter of preallocate filter is not aligned to underlying node request alignment ({alignment})"
                : null;
            return message is null ? new PreallocateNode(request.NodeName, file, request.IsReadWrite, align, size) : throw new OptionException(message);
        }
        catch
        {
            await file.CloseAsync();
            throw;
        }
    }
}
