using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;

namespace Ingot.Tests.Drivers.Qcow2.Fuzz;

/// <summary>Snapshots, bitmaps, VM state, sizes and format options of spoiled images.</summary>
internal static class FuzzManagement
{
    private const int Operations = 5;
    private const int MaxStored = 64 << 10;

    internal static async IoTask RunAsync(BoundedDisk disk, BoundedDisk? data, Random random)
    {
        await ReadAsync(disk, data);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, dataFile: data);
        for (int i = 0; i < Operations; i++)
        {
            if (random.Next(10) == 0)
            {
                string option = new[] { "compat=v2", "compat=v3", "refcount_bits=8", "refcount_bits=64", "lazy_refcounts=on" }[random.Next(5)];
                await node.AmendAsync(KeyValueText.Parse(option), force: false, progress: null).Status();
                break;
            }

            await ChangeAsync(node, random).Status();
            FuzzCase.CheckPlaces(node, disk);
        }

        await node.CloseAsync();
    }

    /// <summary>Reads all that there is beside the disk.</summary>
    internal static async IoTask ReadAsync(BoundedDisk disk, BoundedDisk? data, OpenFlags flags = OpenFlags.None)
    {
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, flags: flags, dataFile: data);
        await ReadInfoAsync(node).Status();
        foreach (BitmapEntry entry in node.Image.Bitmaps.Entries)
        {
            await ReadBitmapAsync(node, entry.Name).Status();
        }

        using var buffer = new IoBuffer(4096);
        await node.ReadVmStateAsync(0, buffer.Vector).Status();

        // A spoiled table may hold thousands; each is read for itself.
        foreach (Snapshot snapshot in node.Image.Snapshots.Snapshots.Take(16))
        {
            await LoadSnapshotAsync(node, snapshot).Status();
            for (long offset = 0; offset + 4096 <= Math.Min(node.Length, MaxStored); offset += 4096)
            {
                await node.ReadAsync(offset, buffer.Vector).Status();
            }
        }

        await node.CloseAsync();
    }

    private static async IoTask ReadInfoAsync(Qcow2Node node) => await node.GetInfoAsync();

    private static async IoTask ReadBitmapAsync(Qcow2Node node, string name) => (await node.GetBitmapAsync(name)).CountDirty();

    private static async IoTask LoadSnapshotAsync(Qcow2Node node, Snapshot snapshot) => await node.TryLoadSnapshotAsync(s => s == snapshot.Info);

    private static async IoTask ChangeAsync(Qcow2Node node, Random random)
    {
        IReadOnlyList<Snapshot> snapshots = node.Image.Snapshots.Snapshots;
        string snapshot = snapshots.Count == 0 ? "vm" : snapshots[random.Next(snapshots.Count)].Info.Name;
        string bitmap = random.Next(2) == 0 ? "one" : "two";
        using var buffer = new IoBuffer(3000);
        buffer.Vector.Fill(9);
        switch (random.Next(16))
        {
            case 0:
                await node.CreateSnapshotAsync("new", DateTimeOffset.UnixEpoch);
                break;
            case 1 or 2:
                await node.ApplySnapshotAsync(snapshot);
                break;
            case 3 or 4:
                await node.DeleteSnapshotAsync(snapshot);
                break;
            case 5:
                await node.AddBitmapAsync("new", 512L << random.Next(12));
                break;
            case 6:
                await node.RemoveBitmapAsync(bitmap);
                break;
            case 7:
                await node.ClearBitmapAsync(bitmap);
                break;
            case 8:
                await node.EnableBitmapAsync(bitmap, random.Next(2) == 0);
                break;
            case 9:
                await node.ResizeAsync(random.Next(1, 512) * 512L, random.Next(4) == 0 ? Preallocation.Metadata : Preallocation.Off);
                break;
            case 10:
                await node.WriteVmStateAsync(random.Next(10_000), buffer.Vector);
                break;
            case 11:
                await node.WriteZeroesAsync(0, Math.Min(node.Length, MaxStored), ZeroFlags.MayUnmap);
                break;
            case 12:
                await node.ChangeBackingAsync("name", "raw");
                break;
            case 13:
                await node.EmptyAsync();
                break;
            case 14:
                await Qcow2Fixture.WriteAsync(node, 0, new byte[Math.Min(node.Length, node.Image.Geometry.ClusterLength)], WriteFlags.Compressed);
                break;
            default:
                await Qcow2Fixture.WriteAsync(node, random.NextInt64(Math.Clamp(node.Length - 3000, 1, MaxStored)), buffer.Span.ToArray());
                break;
        }
    }
}
