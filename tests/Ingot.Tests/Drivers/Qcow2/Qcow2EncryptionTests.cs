using System.Buffers.Binary;
using CsCheck;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Encrypted images: against an array of bytes, against qemu-img, and what is refused.</summary>
public class Qcow2EncryptionTests
{
    private const int MaxSize = 3 << 20;

    public static bool HasQemu => Qemu.IsInstalled;

    private static Gen<Step[]> Steps => Gen.Select(
        Gen.Frequency((6, Gen.Const(StepKind.Write)), (2, Gen.Const(StepKind.Zero)), (2, Gen.Const(StepKind.ZeroUnmap)), (2, Gen.Const(StepKind.Discard)),
            (3, Gen.Const(StepKind.Read)), (1, Gen.Const(StepKind.Reopen)), (1, Gen.Const(StepKind.Resize))),
        Gen.Double.Unit,
        Gen.Frequency((3, Gen.Int[1, 3000]), (2, Gen.Int[1, 400_000])),
        Gen.Int,
        (kind, at, length, seed) => new Step(kind, at, length, seed)).Array[1, 30];

    [Theory]
    [InlineData("luks", 9, "v3", false, false)]
    [InlineData("luks", 12, "v2", false, false)]
    [InlineData("luks", 16, "v3", false, false)]
    [InlineData("luks", 16, "v3", true, false)]
    [InlineData("luks", 16, "v3", false, true)]
    [InlineData("luks", 21, "v3", true, true)]
    [InlineData("aes", 9, "v3", false, false)]
    [InlineData("aes", 16, "v2", false, false)]
    [InlineData("aes", 14, "v3", true, false)]
    public void Reads_like_an_array_of_bytes(string format, int clusterBits, string version, bool extended, bool hasDataFile)
        => Gen.Select(Gen.Int[1, MaxSize / 512], Gen.Int[0, MaxSize / 512], Steps).Sample(
            (sectors, backingSectors, steps) => Loop.Run(() => new Model(clusterBits, 16, version, "zlib", extended, hasDataFile, encryption: format).RunAsync(sectors * 512, backingSectors * 512, steps)),
            iter: 8,
            threads: 1);

    [Fact]
    public void Writers_of_parts_of_the_same_sectors_do_not_disturb_each_other()
        => Loop.Run(async () =>
        {
            const int Size = 64 << 10;
            const int Piece = 100;
            var disk = new MemoryDisk(null, 1);
            await Qcow2Fixture.CreateAsync(disk, Size, Qcow2Fixture.Encrypted("luks"));
            Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
            byte[] expected = new byte[Size];
            var running = new List<IoTask>();
            for (int at = 0; at + Piece <= 20_000; at += Piece)
            {
                byte[] bytes = Qcow2Fixture.Pattern(Piece, at);
                bytes.CopyTo(expected, at);
                running.Add(Qcow2Fixture.WriteAsync(node, at, bytes));
            }

            foreach (IoTask task in running)
            {
                await task;
            }

            Assert.Equal(expected, await Qcow2Fixture.ReadAsync(node, 0, Size));
            await node.CloseAsync();
        });

    [Theory]
    [InlineData("luks")]
    [InlineData("aes")]
    public void What_is_stored_is_not_what_was_written(string format)
        => Loop.Run(async () =>
        {
            var disk = new MemoryDisk();
            await Qcow2Fixture.CreateAsync(disk, 1 << 20, Qcow2Fixture.Encrypted(format));
            Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
            byte[] secret = Qcow2Fixture.Pattern(512, 5);
            await Qcow2Fixture.WriteAsync(node, 300_000, secret);
            await Qcow2Fixture.WriteAsync(node, 512, secret);
            Assert.Equal(Errno.ENOTSUP, await node.WriteAsync(0, new IoBuffer(65536).Vector, WriteFlags.Compressed).Status());
            await node.CloseAsync();
            Assert.True(disk.Snapshot().AsSpan().IndexOf(secret.AsSpan(0, 16)) < 0);
        });

    [Fact]
    public void A_read_and_a_write_allocate_nothing()
        => Loop.Run(async () =>
        {
            var disk = new MemoryDisk();
            await Qcow2Fixture.CreateAsync(disk, 1 << 20, Qcow2Fixture.Encrypted("luks"));
            Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
            using IoBuffer data = IoBuffer.Zeroed(65536);
            data.Span.Fill(1);
            long before = 0;
            for (int i = 0; i < 300; i++)
            {
                before = i == 200 ? GC.GetAllocatedBytesForCurrentThread() : before;
                int length = i % 2 == 0 ? 4096 : 65536;
                await node.WriteAsync(0, data.Slice(0, length));
                await node.ReadAsync(0, data.Slice(0, length));
            }

            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 2000);
            await node.CloseAsync();
        });

    [Fact]
    public void Snapshots_keep_what_is_encrypted()
        => Loop.Run(async () =>
        {
            var disk = new MemoryDisk();
            await Qcow2Fixture.CreateAsync(disk, 1 << 20, Qcow2Fixture.Encrypted("luks"));
            Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
            byte[] old = Qcow2Fixture.Pattern(100_000, 1);
            await Qcow2Fixture.WriteAsync(node, 1000, old);
            await node.CreateSnapshotAsync("one", DateTimeOffset.UnixEpoch);
            await Qcow2Fixture.WriteAsync(node, 5000, Qcow2Fixture.Pattern(70_000, 2));
            await node.ApplySnapshotAsync("one");
            await node.CloseAsync();
            node = await Qcow2Fixture.OpenAsync(disk);
            Assert.Equal(old, await Qcow2Fixture.ReadAsync(node, 1000, old.Length));
            await Model.CheckAsync(node);
            await node.CloseAsync();
        });

    [Fact]
    public void A_downgrade_keeps_zeroes_zero()
        => Loop.Run(async () =>
        {
            var disk = new MemoryDisk();
            await Qcow2Fixture.CreateAsync(disk, 1 << 20, [.. Qcow2Fixture.Encrypted("luks"), ("preallocation", "metadata")]);
            Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
            Assert.Equal(new byte[1 << 20], await Qcow2Fixture.ReadAsync(node, 0, 1 << 20));
            await node.AmendAsync(Qcow2Fixture.Options(("compat", "v2")), force: false, progress: null);
            await node.CloseAsync();
            node = await Qcow2Fixture.OpenAsync(disk);
            Assert.Equal(new byte[1 << 20], await Qcow2Fixture.ReadAsync(node, 0, 1 << 20));
            await Model.CheckAsync(node);
            await node.CloseAsync();
        });

    [Fact]
    public void Damaged_encryption_headers_are_refused_by_name()
        => Loop.Run(async () =>
        {
            var disk = new MemoryDisk();
            await Qcow2Fixture.CreateAsync(disk, 1 << 20, Qcow2Fixture.Encrypted("luks"));
            byte[] good = disk.Snapshot();
            const int Extension = CurrentHeaderLength;
            int area = (int)BinaryPrimitives.ReadInt64BigEndian(good.AsSpan(Extension + 8));
            foreach ((int at, int value, string expected) in ((int, int, string)[])
            [
                (32 + 3, 3, "Unsupported encryption method 3"), (32 + 3, 0, "only expected with LUKS"), (32 + 3, 1, "only expected with LUKS"),
                (Extension, 1, "Missing CRYPTO header for crypt method 2"), (Extension + 7, 8, "extension size 8"),
                (Extension + 15, 1, "Encryption header offset '262145'"), (Extension + 8, 1, "Encryption header offset"),
                (Extension + 21, 0, "but its encryption header has"), (Extension + 16, 1, "Encryption header length"), (Extension + 12, 0x7f, "not in LUKS format"),
                (area, 0, "not in LUKS format"), (area + 7, 2, "LUKS version 2"), (area + 107, 1, "overlapping with the header: it begins at 512"),
                (area + 212, 0xff, "Keyslot 0 iteration count is"), (area + 254, 1, "Keyslot 0 is corrupted (stripes 416"), (area + 5000, ~good[area + 5000], "Invalid password"),
            ])
            {
                byte[] bad = [.. good];
                bad[at] = (byte)value;
                if (at == area + 107)
                {
                    bad[at - 1] = 0;
                }

                ErrnoException e = await FailureAsync(new MemoryDisk(bad), OpenFlags.None);
                Assert.Contains(expected, e.Message);
            }

            BinaryPrimitives.WriteInt32BigEndian(good.AsSpan(area + 212), 200_000_000);
            Assert.Contains("rounds of PBKDF2", (await FailureAsync(new MemoryDisk(good), OpenFlags.Untrusted)).Message);
        });

    [Theory(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    [InlineData("encrypt.format=aes")]
    [InlineData("encrypt.format=aes,compat=0.10")]
    [InlineData("encrypt.format=luks,encrypt.iter-time=10")]
    [InlineData("encrypt.format=luks,encrypt.iter-time=10,compat=0.10,cluster_size=8k")]
    [InlineData("encrypt.format=luks,encrypt.iter-time=10,extended_l2=on")]
    [InlineData("encrypt.format=luks,encrypt.iter-time=10,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256,encrypt.hash-alg=sha512")]
    public void Images_go_to_qemu_img_and_back(string options)
    {
        using var directory = new TempDirectory();
        byte[] expected = Qcow2Fixture.Pattern(2 << 20, 1);
        expected.AsSpan(300_000, 400_000).Clear();
        System.IO.File.WriteAllBytes(directory["plain"], expected);
        Qemu.Img("convert", "--object", "secret,id=s,data=word", "-f", "raw", "-O", "qcow2", "-o", $"encrypt.key-secret=s,{options}", directory["plain"], directory["theirs"]);
        Loop.Run(async () =>
        {
            var graph = new BlockGraph { Secrets = Qcow2Fixture.Secrets };
            await new Qcow2Driver().CreateAsync(new CreateRequest(graph, directory["ours"], expected.Length, Qcow2Fixture.Options(
                [("encrypt.key-secret", "s"), .. options.Split(',').Select(o => o.Split('=')).Select(o => (o[0], o[1]))])));
            foreach (string name in (string[])["theirs", "ours"])
            {
                BlockNode node = await graph.OpenAsync(Qcow2Fixture.Options(("driver", "qcow2"), ("file.filename", directory[name]), ("encrypt.key-secret", "s")), OpenFlags.ReadWrite);
                if (name == "ours")
                {
                    await Qcow2Fixture.WriteAsync(node, 0, expected[..300_000]);
                    await Qcow2Fixture.WriteAsync(node, 700_000, expected[700_000..]);
                }

                Assert.Equal(expected, await Qcow2Fixture.ReadAsync(node, 0, expected.Length));
                await Qcow2Fixture.WriteAsync(node, 100_001, new byte[77_777]);
                await node.WriteZeroesAsync(1_000_000, 300_000);
                await node.CloseAsync();
            }
        });
        expected.AsSpan(100_001, 77_777).Clear();
        expected.AsSpan(1_000_000, 300_000).Clear();
        foreach (string name in (string[])["theirs", "ours"])
        {
            string image = $"driver=qcow2,file.filename={directory[name]},encrypt.key-secret=s";
            Assert.Contains("No errors", Qemu.Img("check", "--object", "secret,id=s,data=word", "--image-opts", image));
            Qemu.Img("convert", "--object", "secret,id=s,data=word", "--image-opts", image, "-O", "raw", directory["back"]);
            Assert.Equal(expected, System.IO.File.ReadAllBytes(directory["back"]));
        }
    }

    private static async IoTask<ErrnoException> FailureAsync(MemoryDisk disk, OpenFlags flags)
    {
        try
        {
            await (await Qcow2Fixture.OpenAsync(disk, flags: flags)).CloseAsync();
        }
        catch (ErrnoException e)
        {
            return e;
        }

        throw new InvalidOperationException("The image could be opened.");
    }
}
