using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Persistent dirty bitmaps: recorded while the image is open, stored when it is closed, inconsistent when it was not.</summary>
public class BitmapTests
{
    private const int Size = 4 << 20;

    [Fact]
    public void Changes_are_recorded_and_stored() => Loop.Run(async () =>
    {
        MemoryDisk disk = await CreateAsync("b", "off");
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await node.EnableBitmapAsync("off", false);
        await node.CloseAsync();
        var random = new Random(5);
        var model = new DirtyBitmap(Size, 12);
        for (int round = 0; round < 4; round++)
        {
            node = await Qcow2Fixture.OpenAsync(disk);
            for (int i = 0; i < 20; i++)
            {
                int length = random.Next(1, 20_000);
                int offset = random.Next(Size - length);
                switch (i % 3)
                {
                    case 0:
                        await node.WriteZeroesAsync(offset, length, ZeroFlags.None);
                        break;
                    case 1:
                        await Qcow2Fixture.WriteAsync(node, offset, Qcow2Fixture.Pattern(length, i));
                        break;
                    default:
                        await node.DiscardAsync(offset, length);
                        break;
                }

                model.Set(offset, length);
            }

            await Model.CheckAsync(node);
            await node.CloseAsync();
            node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.Check);
            Assert.Equal(Save(model), Save(await node.GetBitmapAsync("b")));
            Assert.Equal(0, (await node.GetBitmapAsync("off")).CountDirty());
            await Model.CheckAsync(node);
            await node.CloseAsync();
        }

        node = await Qcow2Fixture.OpenAsync(disk);
        await node.MergeBitmapAsync("off", model);
        await node.ClearBitmapAsync("b");
        await node.ResizeAsync(Size * 2, Preallocation.Off);
        await node.CloseAsync();
        model.Resize(Size * 2);
        node = await Qcow2Fixture.OpenAsync(disk);
        Assert.Equal(0, (await node.GetBitmapAsync("b")).CountDirty());
        Assert.Equal(Save(model), Save(await node.GetBitmapAsync("off")));
        await node.RemoveBitmapAsync("b");
        await node.RemoveBitmapAsync("off");
        await node.CloseAsync();
        node = await Qcow2Fixture.OpenAsync(disk);
        Assert.DoesNotContain((await node.GetInfoAsync()).Specific!, s => s.Key == "bitmaps");
        await Model.CheckAsync(node);
        await node.CloseAsync();
    });

    [Fact]
    public void A_bitmap_that_was_not_stored_is_inconsistent() => Loop.Run(async () =>
    {
        MemoryDisk disk = await CreateAsync("b");
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, [1]);
        await node.FlushAsync();
        node = await Qcow2Fixture.OpenAsync(new MemoryDisk(disk.Snapshot()));
        Assert.Equal(Errno.EINVAL, await node.ClearBitmapAsync("b").Status());
        await node.RemoveBitmapAsync("b");
        await node.CloseAsync();
    });

    [Fact]
    public void Amending_stores_bitmaps_before_counts_change_their_width() => Loop.Run(async () =>
    {
        MemoryDisk disk = await CreateAsync("b");
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 70_000, [1]);
        await node.AddBitmapAsync("new");
        await node.AmendAsync(Qcow2Fixture.Options(("refcount_bits", "64")), force: false, progress: null);
        await node.CloseAsync();
        node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.Check);
        await Model.CheckAsync(node);
        Assert.True((await node.GetBitmapAsync("b")).IsDirty(70_000));
        Assert.Equal(0, (await node.GetBitmapAsync("new")).CountDirty());
        await node.CloseAsync();
    });

    [Fact]
    public void A_bitmap_of_another_size_is_never_taken_for_a_good_one() => Loop.Run(async () =>
    {
        MemoryDisk disk = await CreateAsync("b", "disabled", "removed");
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await node.EnableBitmapAsync("disabled", false);
        await node.EnableBitmapAsync("removed", false);
        await node.CloseAsync();
        node = await Qcow2Fixture.OpenAsync(disk);
        await node.RemoveBitmapAsync("removed");
        await node.ResizeAsync(100L * Size);
        node = await Qcow2Fixture.OpenAsync(new MemoryDisk(disk.Snapshot()));
        foreach (string name in (string[])["b", "disabled", "removed"])
        {
            Assert.Equal(Errno.EINVAL, await node.ClearBitmapAsync(name).Status());
        }

        await node.CloseAsync();
    });

    private static byte[] Save(DirtyBitmap bitmap)
    {
        byte[] bytes = new byte[(bitmap.StoredLength + 7) & ~7];
        bitmap.Save(0, bytes);
        return bytes;
    }

    private static async IoTask<MemoryDisk> CreateAsync(params string[] names)
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", "4096"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        foreach (string name in names)
        {
            await node.AddBitmapAsync(name);
        }

        await node.CloseAsync();
        return disk;
    }
}
