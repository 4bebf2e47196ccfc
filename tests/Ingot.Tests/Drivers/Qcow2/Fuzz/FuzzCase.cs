using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Tests.Drivers.Qcow2.Fuzz;

/// <summary>One spoiled image, and everything that is done to it. A seed says which.</summary>
internal sealed class FuzzCase(FuzzImage[] images, int seed)
{
    private const byte Mark = 0xa5;
    private const int MaxRead = 128 << 10;

    // All that is ever allocated: L1 tables of 32 MiB are read by six opens and by operations, and a bitmap may have 512 MiB.
    private const long MaxAllocation = 1L << 30;

    // Of what is opened as untrusted; the table and its bytes.
    private const long MaxUntrustedAllocation = 160L << 20;

    private readonly Random _random = new(seed);

    /// <summary>How many of reading, repairing, writing and managing were done to the end.</summary>
    internal int Done { get; private set; }

    /// <summary>Runs it.</summary>
    /// <returns>What is wrong, or null.</returns>
    internal async IoTask<string?> RunAsync()
    {
        FuzzImage image = images[_random.Next(images.Length)];
        byte[] bytes = Spoil(image);
        long before = GC.GetAllocatedBytesForCurrentThread();
        string step = "read";
        try
        {
            await TryAsync(ReadAsync(new BoundedDisk([.. bytes]), DataFileOf(image)));
            step = "read untrusted";
            long beforeUntrusted = GC.GetAllocatedBytesForCurrentThread();
            await FuzzManagement.ReadAsync(new BoundedDisk([.. bytes]), DataFileOf(image), OpenFlags.Untrusted).Status();
            long untrusted = GC.GetAllocatedBytesForCurrentThread() - beforeUntrusted;
            if (untrusted > MaxUntrustedAllocation)
            {
                return $"seed {seed} ({image.Name}): {untrusted} bytes allocated for an untrusted image";
            }

            step = "repair";
            await TryAsync(RepairAsync(new BoundedDisk([.. bytes]), DataFileOf(image)));
            step = "write";
            await TryAsync(WriteAsync(new BoundedDisk([.. bytes]), DataFileOf(image)));
            step = "manage";
            await TryAsync(FuzzManagement.RunAsync(new BoundedDisk(bytes), DataFileOf(image), _random));
        }
        catch (Exception e)
        {
            return $"seed {seed} ({image.Name}), {step}: {e}";
        }

        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        return allocated > MaxAllocation ? $"seed {seed} ({image.Name}): {allocated} bytes allocated" : null;
    }

    private static BoundedDisk? DataFileOf(FuzzImage image) => image.DataFile is { } bytes ? new BoundedDisk([.. bytes]) : null;

    // What is refused is refused with a typed error that says something.
    private async IoTask TryAsync(IoTask task)
    {
        try
        {
            await task;
            Done++;
        }
        catch (ErrnoException e) when (e.Message.Length > 10)
        {
            // As it should be.
        }
    }

    private byte[] Spoil(FuzzImage image)
    {
        byte[] bytes = [.. image.Bytes];
        for (int i = _random.Next(1, 5); i > 0; i--)
        {
            switch (_random.Next(12))
            {
                case 0:
                    Array.Resize(ref bytes, _random.Next(bytes.Length + 1));
                    break;
                case 1 or 2 when bytes.Length > 0:
                    bytes[_random.Next(bytes.Length)] ^= (byte)(1 << _random.Next(8));
                    break;
                default:
                    SpoilField(image, bytes);
                    break;
            }
        }

        return bytes;
    }

    private void SpoilField(FuzzImage image, byte[] bytes)
    {
        // The header is small beside the tables and matters as much.
        (int offset, int width) = image.Fields[_random.Next(3) == 0 ? _random.Next(18) : _random.Next(image.Fields.Length)];
        if (offset + width > bytes.Length)
        {
            return;
        }

        ulong old = FuzzImage.Read(bytes, offset, width);
        ulong place = (ulong)_random.NextInt64((bytes.Length / 512) + 3) << 9;
        ulong value = _random.Next(12) switch
        {
            0 => 0,
            1 => 1,
            2 => ulong.MaxValue,
            3 => old + 1,
            4 => old - 1,
            5 => old ^ (1UL << _random.Next(width * 8)),
            6 => 1UL << _random.Next(64),
            7 => place,
            8 => place | (1UL << 63),
            9 => (1UL << 62) | ((ulong)_random.NextInt64() & 0x3ff00000000fffffUL),
            10 => (old & ~0xfffUL) | (ulong)_random.NextInt64(4096),
            _ => (ulong)_random.NextInt64(),
        };
        FuzzImage.Write(bytes, offset, width, value);
    }

    private static async IoTask ReadAsync(BoundedDisk disk, BoundedDisk? data)
    {
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.None, dataFile: data);
        await node.GetInfoAsync();
        long at = 0;
        for (int extents = 0; extents < 64 && at < node.Length; extents++)
        {
            Extent extent = await node.GetExtentAsync(at, node.Length - at);
            if (extent.Offset != at || extent.Length <= 0 || extent.Length > node.Length - at)
            {
                throw new InvalidOperationException($"extent {extent} at {at}");
            }

            at += extent.Length;
        }

        for (long offset = 0; offset < Math.Min(node.Length, MaxRead); offset += 8192)
        {
            using var buffer = new IoBuffer((int)Math.Min(8192, node.Length - offset));
            await node.ReadAsync(offset, buffer.Vector).Status();
        }

        await node.CloseAsync();
        node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.Check, dataFile: data);
        await node.CheckAsync();
        await node.CloseAsync();
    }

    private async IoTask RepairAsync(BoundedDisk disk, BoundedDisk? data)
    {
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.ReadWrite | OpenFlags.Check, dataFile: data);
        await node.CheckAsync(_random.Next(2) == 0 ? Qcow2Repair.Leaks : Qcow2Repair.All);
        await node.CloseAsync();
    }

    private async IoTask WriteAsync(BoundedDisk disk, BoundedDisk? data)
    {
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, dataFile: data);
        byte[] marks = new byte[3000];
        marks.AsSpan().Fill(Mark);
        for (int i = 0; i < 6 && node.Length > 0; i++)
        {
            long offset = _random.NextInt64(Math.Min(node.Length, MaxRead));
            int length = (int)Math.Min(_random.Next(1, marks.Length), node.Length - offset);
            IoTask change = _random.Next(6) switch
            {
                0 => node.DiscardAsync(offset, length * 4L > node.Length - offset ? length : length * 4L),
                1 => node.WriteZeroesAsync(offset, length, ZeroFlags.MayUnmap),
                2 => node.FlushAsync(),
                _ => Qcow2Fixture.WriteAsync(node, offset, marks.AsSpan(0, length).ToArray()),
            };
            await change.Status();
            CheckPlaces(node, disk);
        }

        await node.CloseAsync();
    }

    // The guest's bytes never get to where the header and the tables in memory lie.
    internal static void CheckPlaces(Qcow2Node node, BoundedDisk disk)
    {
        Qcow2Image image = node.Image;
        CheckPlace(disk, 0, 104, "header");
        CheckPlace(disk, image.Map.L1.Offset, image.Map.L1.Count * 8L, "L1 table");
        CheckPlace(disk, image.Refcounts.Table.Offset, image.Refcounts.Table.Count * 8L, "refcount table");
    }

    private static void CheckPlace(BoundedDisk disk, long offset, long length, string what)
    {
        ReadOnlySpan<byte> marks = [Mark, Mark, Mark, Mark, Mark, Mark, Mark, Mark];
        if (offset < disk.Length && disk.Bytes.Slice((int)offset, (int)Math.Min(length, disk.Length - offset)).IndexOf(marks) >= 0)
        {
            throw new InvalidOperationException($"guest data was written to the {what}");
        }
    }
}
