using Ingot.Block;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>Copies the persistent dirty bitmaps of an image to another of the same size (convert --bitmaps).</summary>
/// <param name="source">The image that has them.</param>
/// <param name="bitmaps">Those that it has, in the order of its directory.</param>
internal sealed class BitmapCopy(Qcow2Node source, IReadOnlyList<DirtyBitmapInfo> bitmaps)
{
    /// <summary>Finds what there is to copy.</summary>
    /// <param name="source">The image to copy from.</param>
    /// <param name="skipsBroken">Whether inconsistent bitmaps stay behind; otherwise they are refused.</param>
    /// <returns>The copy to do.</returns>
    public static async IoTask<BitmapCopy> PrepareAsync(BlockNode source, bool skipsBroken)
    {
        ImageInfo info = await source.GetInfoAsync();
        if (source is not Qcow2Node image || !CanHold(source, info))
        {
            throw new OptionException("Source lacks bitmap support");
        }

        IReadOnlyList<DirtyBitmapInfo> bitmaps = BitmapsOf(info);
        // The newest comes first, as in QEMU.
        return !skipsBroken && bitmaps.LastOrDefault(b => b.IsInUse) is { } broken
            ? throw new OptionException($"Cannot copy inconsistent bitmap '{broken.Name}'\nTry --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it")
            : new BitmapCopy(image, bitmaps);
    }

    /// <summary>Refuses a target that can't hold bitmaps.</summary>
    /// <param name="target">The target.</param>
    /// <returns>The task.</returns>
    public static async IoTask CheckTargetAsync(BlockNode target)
    {
        if (!CanHold(target, await target.GetInfoAsync()))
        {
            throw new OptionException($"Format driver '{target.DriverName}' does not support bitmaps");
        }
    }

    /// <summary>Copies the bitmaps; they record changes in the target if they did in the source.</summary>
    /// <param name="target">A target that can hold them.</param>
    /// <param name="warn">Told of those that are left out.</param>
    /// <returns>The task.</returns>
    public async IoTask CopyAsync(BlockNode target, Action<string> warn)
    {
        var image = (Qcow2Node)target;
        IReadOnlyList<DirtyBitmapInfo> there = BitmapsOf(await target.GetInfoAsync());
        foreach (DirtyBitmapInfo bitmap in bitmaps.Reverse())
        {
            if (bitmap.IsInUse)
            {
                warn($"Skipping inconsistent bitmap '{bitmap.Name}'");
            }
            else if (there.Any(b => b.Name == bitmap.Name))
            {
                throw new OptionException($"Failed to create bitmap {bitmap.Name}: Bitmap already exists: {bitmap.Name}");
            }
        }

        foreach (DirtyBitmapInfo bitmap in bitmaps.Where(b => !b.IsInUse))
        {
            await CopyAsync(image, bitmap);
        }
    }

    private async IoTask CopyAsync(Qcow2Node target, DirtyBitmapInfo bitmap)
    {
        try
        {
            await target.AddBitmapAsync(bitmap.Name, bitmap.Granularity);
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"Failed to create bitmap {bitmap.Name}: {e.Message}", e);
        }

        try
        {
            DirtyBitmap content = await source.GetBitmapAsync(bitmap.Name);
            if (content.Length != target.Length)
            {
                throw new ErrnoException(Errno.EINVAL, $"Bitmaps are of different sizes (destination size is {target.Length}, source size is {content.Length}) and can't be merged");
            }

            await target.MergeBitmapAsync(bitmap.Name, content);
            await target.EnableBitmapAsync(bitmap.Name, bitmap.IsAuto);
        }
        catch (ErrnoException e)
        {
            await target.RemoveBitmapAsync(bitmap.Name);
            throw new ErrnoException(e.Errno, $"Failed to populate bitmap {bitmap.Name}: {e.Message}", e);
        }
    }

    private static bool CanHold(BlockNode node, ImageInfo info) => node is Qcow2Node && info.Specific?.Any(s => s is ("compat", "1.1")) == true;

    private static IReadOnlyList<DirtyBitmapInfo> BitmapsOf(ImageInfo info)
        => info.Specific?.Where(s => s.Key == "bitmaps").Select(s => s.Value).OfType<IReadOnlyList<DirtyBitmapInfo>>().FirstOrDefault() ?? [];
}
