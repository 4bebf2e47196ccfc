using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Jobs;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>
/// What concerns an image as a whole (snapshots, bitmaps, format options, commit, rebase, convert) fails at its first I/O, at its second, and so on: with
/// an error that says something, and with an image that is consistent, in a crash right then and after closing it, and that works when it is opened again.
/// </summary>
public class Qcow2FaultJobTests
{
    private const int Size = 128 << 10;
    private const int Kept = Size / 2;

    public static MatrixTheoryData<string, Errno> Operations => new(
        [
            "snapshot", "apply", "delete", "bitmap add", "bitmap store", "bitmap remove", "bitmap resize", "refcount_bits", "compat=v2", "lazy", "names", "commit", "commit to base", "rebase",
            "convert", "convert compressed", "repair leaks", "repair all",
        ],
        [Errno.EIO, Errno.ENOSPC]);

    [Theory]
    [MemberData(nameof(Operations))]
    public void An_operation_fails_at_any_of_its_requests(string operation, Errno errno) => Loop.Run(async () =>
    {
        byte[] image = await MakeAsync(operation);
        for (int failAt = 1; failAt < 400; failAt++)
        {
            if (!await FailAsync(image, operation, errno, halfway: errno == Errno.ENOSPC, failAt))
            {
                Assert.True(failAt > 1, "nothing was done");
                return;
            }
        }

        Assert.Fail("there is no end");
    });

    private static byte[] Base => Qcow2Fixture.Pattern(Size, 9);

    private static async IoTask<byte[]> MakeAsync(string operation)
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", "1k"), ("compat", "v3"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, new MemoryDisk(Base));
        await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(Kept, 1));
        await Qcow2Fixture.WriteAsync(node, Kept + 8192, new byte[8192], WriteFlags.Compressed);
        if (!operation.StartsWith("compat", StringComparison.Ordinal))
        {
            await node.AddBitmapAsync("b");
        }

        await node.CreateSnapshotAsync("s", DateTimeOffset.UnixEpoch);
        node = await ReopenAsync(node, disk);
        await Qcow2Fixture.WriteAsync(node, Kept + 4096, Qcow2Fixture.Pattern(10_000, 2));
        await node.WriteZeroesAsync(Size - 8192, 4096, ZeroFlags.None);
        if (operation.StartsWith("repair", StringComparison.Ordinal))
        {
            await node.Image.Allocator.AllocateAsync(5);
        }

        await node.CloseAsync();
        byte[] bytes = disk.Snapshot();
        bytes[79] |= (byte)(operation == "repair all" ? 1 : 0);
        return bytes;
    }

    private static async IoTask<Qcow2Node> ReopenAsync(Qcow2Node node, MemoryDisk disk)
    {
        await node.CloseAsync();
        return await Qcow2Fixture.OpenAsync(disk, new MemoryDisk(Base));
    }

    // False when the operation has fewer requests than that.
    private static async IoTask<bool> FailAsync(byte[] image, string operation, Errno errno, bool halfway, int failAt)
    {
        string when = $"{operation}, failure at {failAt}";
        var disk = new MemoryDisk([.. image]) { FailWith = errno, FailsHalfway = halfway };
        MemoryDisk other = await MakeOtherAsync();
        (other.FailWith, other.FailsHalfway) = (errno, halfway);
        Qcow2Node otherNode = await Qcow2Fixture.OpenAsync(other);
        bool failsOther = operation is "commit to base" or "convert" or "convert compressed";
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, otherNode, operation.StartsWith("repair", StringComparison.Ordinal) ? OpenFlags.ReadWrite | OpenFlags.Check : OpenFlags.ReadWrite);
        MemoryDisk failing = failsOther ? other : disk;
        failing.FailAt = failing.Operations + failAt;
        string? error = await ErrorAsync(node, operation, otherNode);
        bool happened = failing.Operations >= failing.FailAt;
        failing.FailAt = 0;
        if (error is not null)
        {
            Assert.True(happened, error);
            Assert.True(error.Contains("Injected failure", StringComparison.Ordinal) || error.Contains(ErrnoException.Text(errno), StringComparison.Ordinal) || error.StartsWith("Check failed", StringComparison.Ordinal), error);
        }

        await CheckAsync(new MemoryDisk(disk.Snapshot()), new MemoryDisk(other.Snapshot()), $"{when}, crash");
        await node.CloseAsync().Status();
        await otherNode.CloseAsync().Status();
        await CheckAsync(disk, other, $"{when}, closed");

        // What was done already is not there to be done again, and bitmaps that could not be stored can't be used.
        otherNode = await Qcow2Fixture.OpenAsync(other);
        node = await Qcow2Fixture.OpenAsync(disk, otherNode);
        Errno again = await RunAsync(node, operation, otherNode).Status();
        Assert.True(again is Errno.None or Errno.ENOENT or Errno.EINVAL or Errno.ENOTSUP, $"{when}, again: {again}");
        await node.CloseAsync();
        await otherNode.CloseAsync();
        await CheckAsync(disk, other, $"{when}, repeated", isFinal: true);
        return happened;
    }

    // The backing file, or the target.
    private static async IoTask<MemoryDisk> MakeOtherAsync()
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Size, ("cluster_size", "1k"));
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, Kept, Base[Kept..]);
        await node.CloseAsync();
        return disk;
    }

    private static async IoTask<string?> ErrorAsync(Qcow2Node node, string operation, Qcow2Node other)
    {
        try
        {
            await RunAsync(node, operation, other);
            return null;
        }
        catch (ErrnoException e)
        {
            return e.Message;
        }
    }

    private static async IoTask RunAsync(Qcow2Node node, string operation, Qcow2Node other)
    {
        switch (operation)
        {
            case "snapshot":
                await node.CreateSnapshotAsync("t", DateTimeOffset.UnixEpoch);
                break;
            case "apply":
                await node.ApplySnapshotAsync("s");
                break;
            case "delete":
                await node.DeleteSnapshotAsync("s");
                break;
            case "bitmap add":
                await node.AddBitmapAsync("c", 512);
                await node.CloseAsync();
                break;
            case "bitmap store":
                await Qcow2Fixture.WriteAsync(node, Kept, [1, 2, 3]);
                await node.CloseAsync();
                break;
            case "bitmap remove":
                await node.RemoveBitmapAsync("b");
                await node.CloseAsync();
                break;
            case "bitmap resize":
                await node.ResizeAsync(Size + 100_352);
                await node.CloseAsync();
                break;
            case "refcount_bits" or "compat=v2" or "lazy":
                (string, string) option = operation switch { "refcount_bits" => ("refcount_bits", "64"), "lazy" => ("lazy_refcounts", "on"), _ => ("compat", "v2") };
                await node.AmendAsync(Qcow2Fixture.Options(option), force: false, progress: null);
                break;
            case "names":
                await node.ChangeBackingAsync(new string('n', 200), "qcow2");
                break;
            case "commit" or "commit to base":
                var commit = new CommitJob(node, other, 0);
                await commit.RunAsync();
                await commit.EmptyTopAsync();
                break;
            case "rebase":
                await new RebaseJob(node, other, null, compress: false).RunAsync();
                await node.ChangeBackingAsync(null, null);
                break;
            case "convert" or "convert compressed":
                await new ConvertJob([node], other, new CopyOptions { Compress = operation != "convert" }).RunAsync(null, CancellationToken.None);
                await other.FlushAsync();
                break;
            default:
                await node.CheckAsync(operation == "repair all" ? Qcow2Repair.All : Qcow2Repair.Leaks);
                break;
        }
    }

    private static async IoTask CheckAsync(MemoryDisk disk, MemoryDisk other, string when, bool isFinal = false)
    {
        Qcow2Node below = await OpenCheckedAsync(other, null, $"{when}, other image", isFinal);
        Qcow2Node node = await OpenCheckedAsync(disk, below, when, isFinal);
        await node.Image.Bitmaps.ReadAsync();
        byte[] kept = await Qcow2Fixture.ReadAsync(node, 0, Kept);
        Assert.True(Qcow2Fixture.Pattern(Kept, 1).AsSpan().SequenceEqual(kept), $"{when}: data is lost");
        await node.CloseAsync();
        await below.CloseAsync();
    }

    private static async IoTask<Qcow2Node> OpenCheckedAsync(MemoryDisk disk, Qcow2Node? below, string when, bool isFinal)
    {
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, below, OpenFlags.ReadWrite | OpenFlags.Check);
        if (node.Image.Header.Current.IsDirty)
        {
            Assert.False(isFinal, $"{when}: left dirty");
            await node.CheckAsync(Qcow2Repair.All);
        }

        var messages = new List<string>();
        Qcow2CheckResult result = await node.CheckAsync(report: messages.Add);
        Assert.True(result.Corruptions + result.CheckErrors == 0, $"{when}: {string.Join('\n', messages)}");
        return node;
    }
}
