using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Ingot.Tests.Drivers.Qcow2.Fuzz;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>
/// Each operation fails at its first I/O, at its second, and so on: with an error that says something, with an image that is leaky at worst, both in
/// the process and in what a crash right then leaves, and it works when it is repeated on the healed disk.
/// </summary>
public class Qcow2FaultMatrixTests
{
    private const int Size = 256 << 10;

    public static MatrixTheoryData<string, Errno, bool> Operations => new(
        ["write", "overwrite", "compressed", "zero", "discard", "grow", "shrink", "preallocate", "repair", "durable", "empty", "backing", "close"],
        [Errno.EIO, Errno.ENOSPC],
        [false, true]);

    [Theory]
    [MemberData(nameof(Operations))]
    public void An_operation_fails_at_any_of_its_requests(string operation, Errno errno, bool halfway) => Loop.Run(async () =>
    {
        byte[] image = await MakeAsync(operation);
        for (int failAt = 1; failAt < 300; failAt++)
        {
            if (!await FailAsync(image, operation, errno, halfway, failAt))
            {
                Assert.True(failAt > 1, "nothing was done");
                return;
            }
        }
    });

    [Fact]
    public void Creating_fails_at_any_of_its_requests() => Loop.Run(async () =>
    {
        for (int failAt = 1; ; failAt++)
        {
            var disk = new MemoryDisk { FailAt = failAt, FailWith = Errno.ENOSPC, FailsHalfway = true };
            Errno errno = await Qcow2Fixture.CreateAsync(disk, Size, ("preallocation", "metadata")).Status();
            if (disk.Operations < failAt)
            {
                Assert.Equal(Errno.None, errno);
                return;
            }

            Assert.Equal(Errno.ENOSPC, errno);
            disk.FailAt = 0;
            await Qcow2Fixture.CreateAsync(disk, Size, ("preallocation", "metadata"));
            await Model.CheckAsync(await Qcow2Fixture.OpenAsync(disk));
        }
    });

    private static async IoTask<byte[]> MakeAsync(string operation)
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", "1k"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(Size / 2, 1));
        await Qcow2Fixture.WriteAsync(node, Size / 2, new byte[16 << 10], WriteFlags.Compressed);
        await Qcow2Fixture.WriteAsync(node, Size - 1024, new byte[1024]);
        await node.FlushAsync();
        await node.DiscardAsync(Size - 1024, 1024);
        await node.CloseAsync();
        byte[] bytes = disk.Snapshot();
        if (operation == "repair")
        {
            // A leak, and a dirty image.
            int block = (int)FuzzImage.Read(bytes, (int)FuzzImage.Read(bytes, 48, 8), 8);
            int free = Enumerable.Range(0, bytes.Length / 1024).First(cluster => FuzzImage.Read(bytes, block + (cluster * 2), 2) == 0);
            FuzzImage.Write(bytes, block + (free * 2), 2, 1);
            bytes[79] |= 1;
        }

        return bytes;
    }

    // False when the operation has fewer requests than that.
    private static async IoTask<bool> FailAsync(byte[] image, string operation, Errno errno, bool halfway, int failAt)
    {
        var disk = new MemoryDisk([.. image]) { FailWith = errno, FailsHalfway = halfway };
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, flags: operation == "repair" ? OpenFlags.ReadWrite | OpenFlags.Check : OpenFlags.ReadWrite);
        disk.FailAt = disk.Operations + failAt;
        string? error = await ErrorAsync(node, operation);
        bool happened = disk.Operations >= disk.FailAt;
        disk.FailAt = 0;
        if (error is not null)
        {
            Assert.True(happened, error);
            Assert.Contains("Injected failure", error);
        }

        await CheckLeftAsync(new MemoryDisk(disk.Snapshot()), operation, $"{operation}, failure at {failAt}, crash");
        if (operation == "close")
        {
            return happened;
        }

        if (operation == "empty" && error is not null)
        {
            // Tables in memory and in the file say different things then.
            await node.CloseAsync();
            await CheckLeftAsync(disk, operation, $"{operation}, failure at {failAt}, closed");
            node = await Qcow2Fixture.OpenAsync(disk);
        }

        // Healed: what failed works, and what is left is right.
        await RunAsync(node, operation);
        await node.CloseAsync();
        await CheckLeftAsync(disk, operation, $"{operation}, failure at {failAt}, repeated");
        return happened;
    }

    private static async IoTask<string?> ErrorAsync(Qcow2Node node, string operation)
    {
        try
        {
            await RunAsync(node, operation);
            await node.FlushAsync();
            return null;
        }
        catch (ErrnoException e)
        {
            return e.Message;
        }
    }

    private static async IoTask RunAsync(Qcow2Node node, string operation)
    {
        switch (operation)
        {
            case "write":
                await Qcow2Fixture.WriteAsync(node, 200_000, Qcow2Fixture.Pattern(30_000, 2));
                break;
            case "overwrite":
                await Qcow2Fixture.WriteAsync(node, Size / 2, Qcow2Fixture.Pattern(10_000, 2));
                break;
            case "compressed":
                await Qcow2Fixture.WriteAsync(node, 192 << 10, new byte[16 << 10], WriteFlags.Compressed);
                break;
            case "zero":
                await node.WriteZeroesAsync(Size / 2, 20_000, ZeroFlags.MayUnmap);
                break;
            case "discard":
                await node.DiscardAsync(Size / 2, 16 << 10);
                break;
            case "grow":
                await node.ResizeAsync(16 << 20);
                break;
            case "shrink":
                await node.ResizeAsync(Size / 2);
                break;
            case "preallocate":
                await node.ResizeAsync(2 * Size, Preallocation.Metadata);
                break;
            case "repair":
                await node.CheckAsync(Qcow2Repair.All);
                break;
            case "backing":
                await node.ChangeBackingAsync("base.raw", "raw");
                break;
            case "empty":
                await node.EmptyAsync();
                break;
            case "close":
                await Qcow2Fixture.WriteAsync(node, 200_000, Qcow2Fixture.Pattern(30_000, 2));
                await node.CloseAsync();
                break;
            default:
                await Qcow2Fixture.WriteAsync(node, 200_000, Qcow2Fixture.Pattern(100, 2), WriteFlags.Fua);
                break;
        }
    }

    // As opening for writing does.
    private static async IoTask RepairDirtyAsync(MemoryDisk disk)
    {
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.Check | OpenFlags.ReadWrite);
        if ((await node.GetInfoAsync()).IsDirty)
        {
            await node.CheckAsync(Qcow2Repair.All);
        }

        await node.CloseAsync();
    }

    private static async IoTask CheckLeftAsync(MemoryDisk disk, string operation, string when)
    {
        await RepairDirtyAsync(disk);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, flags: OpenFlags.Check);
        var messages = new List<string>();
        Qcow2CheckResult result = await node.CheckAsync(report: messages.Add);
        Assert.True(result.Corruptions + result.CheckErrors == 0, $"{when}: {string.Join('\n', messages)}");
        if (operation != "empty")
        {
            byte[] kept = await Qcow2Fixture.ReadAsync(node, 0, Size / 2);
            Assert.True(Qcow2Fixture.Pattern(Size / 2, 1).AsSpan().SequenceEqual(kept), $"{when}: data is lost");
        }

        await node.CloseAsync();
    }
}
