using System.Buffers.Binary;
using System.Text;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Linux;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Headers that can't be right are refused with the file, the field and the value; what is right survives reading and writing.</summary>
public class Qcow2HeaderTests
{
    /// <summary>Offset, width in bytes, value, and what the message must say.</summary>
    public static TheoryData<int, int, ulong, string> Defects => new()
    {
        { 0, 4, 0x514649fc, "Image is not in qcow2 format" },
        { 4, 4, 1, "Unsupported qcow2 version 1" },
        { 4, 4, 4, "Unsupported qcow2 version 4" },
        { 8, 8, 1 << 20, "backing_file_offset is 1048576" },
        { 8, 8, 8, "backing_file_offset is 8" },
        { 20, 4, 8, "Unsupported cluster size: 2^8" },
        { 20, 4, 22, "Unsupported cluster size: 2^22" },
        { 20, 4, uint.MaxValue, "Unsupported cluster size: 2^4294967295" },
        { 24, 8, ulong.MaxValue, "header field size is 18446744073709551615" },
        { 24, 8, 1UL << 40, "L1 table is too small" },
        { 32, 4, 2, "Missing CRYPTO header for crypt method 2" },
        { 32, 4, 7, "Unsupported encryption method 7" },
        { 36, 4, uint.MaxValue, "header field l1_size is 4294967295" },
        { 36, 4, 0, "L1 table is too small" },
        { 36, 4, 1 << 20, "is truncated: its L1 table ends at" },
        { 40, 8, 0x30001, "header field l1_table_offset is 196609" },
        { 40, 8, 1UL << 60, "header field l1_table_offset" },
        { 48, 8, 0x10200, "header field refcount_table_offset" },
        { 56, 4, 1 << 20, "header field refcount_table_clusters is 1048576" },
        { 56, 4, 0, "Image does not contain a reference count table" },
        { 60, 4, 70000, "Snapshot table too large" },
        { 64, 8, 77, "header field snapshots_offset is 77" },
        { 72, 8, 16, "header field l1_size is 2: L1 table is too small" },
        { 72, 8, 32 | 4, "Unsupported qcow2 feature(s): Unknown incompatible feature: 20" },
        { 72, 8, 1UL << 40, "Unsupported qcow2 feature(s): Unknown incompatible feature: 10000000000" },
        { 72, 8, 8, "compression_type is 0, but its incompatible feature bit is set" },
        { 96, 4, 7, "refcount_order is 7" },
        { 100, 4, 100, "header_length is 100" },
        { 100, 4, 70000, "header_length is 70000" },
        { 104, 1, 1, "compression_type is 1, but its incompatible feature bit is not set" },
        { 104, 1, 9, "unknown compression type: 9" },
        { 116, 4, 100_000, "extension 0x6803f857 at offset 112 has 100000 bytes" },
    };

    [Theory]
    [MemberData(nameof(Defects))]
    public void Defects_are_named(int offset, int width, ulong value, string message) => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 30);
        byte[] bytes = disk.Snapshot();
        var word = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(word, value);
        word.AsSpan(8 - width).CopyTo(bytes.AsSpan(offset));
        ErrnoException error = await ThrowsAsync(bytes);
        Assert.Contains(message, error.Message);
    });

    [Fact]
    public void A_file_of_any_length_that_was_cut_off_is_refused_or_read() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20, ("cluster_size", "512"));
        byte[] bytes = disk.Snapshot();
        for (int length = 0; length < bytes.Length; length += length < 200 ? 1 : 97)
        {
            try
            {
                Qcow2Node node = await Qcow2Fixture.OpenAsync(new MemoryDisk(bytes.AsSpan(0, length).ToArray()), flags: OpenFlags.None);
                Assert.Equal(1 << 20, node.Length);
            }
            catch (ErrnoException e)
            {
                Assert.NotEmpty(e.Message);
            }
        }
    });

    [Fact]
    public void Random_bytes_in_the_header_end_in_an_error_or_in_an_image() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20, ("cluster_size", "512"));
        var random = new Random(3);
        for (int i = 0; i < 3000; i++)
        {
            byte[] bytes = disk.Snapshot();
            for (int n = random.Next(1, 4); n > 0; n--)
            {
                bytes[random.Next(8, random.Next(2) == 0 ? 600 : bytes.Length)] = (byte)random.Next(256);
            }

            try
            {
                Qcow2Node node = await Qcow2Fixture.OpenAsync(new MemoryDisk(bytes), flags: OpenFlags.ReadWrite);
                await Qcow2Fixture.ReadAsync(node, 0, (int)Math.Min(4096, node.Length));
                await Qcow2Fixture.WriteAsync(node, 0, new byte[Math.Min(700, node.Length)]);
                await node.CheckAsync(Qcow2Repair.All);
                await node.CloseAsync();
            }
            catch (ErrnoException)
            {
                // Refused: as it should be.
            }
        }
    });

    [Fact]
    public void Unknown_features_are_refused_by_the_name_that_the_image_gives_them() => Loop.Run(async () =>
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, 1 << 20);
        byte[] bytes = disk.Snapshot();
        bytes[72] = 0x80;
        bytes[120 + 1] = 63;
        Encoding.ASCII.GetBytes("time travel\0").CopyTo(bytes, 122);
        Assert.EndsWith("Unsupported qcow2 feature(s): time travel", (await ThrowsAsync(bytes)).Message);
    });

    [Fact]
    public void Headers_survive_writing_and_reading()
    {
        var header = new Qcow2Header
        {
            Size = 12345,
            L1Entries = 1,
            L1Offset = 65536,
            RefcountTableOffset = 131072,
            RefcountTableClusters = 1,
            BackingFile = "a/b c.qcow2",
            BackingFormat = "qcow2",
            Extensions = [new HeaderExtension(Qcow2Constants.ExtensionBackingFormat, "qcow2"u8.ToArray()), new HeaderExtension(0x12345678, [1, 2, 3])],
        };
        Qcow2Header read = Qcow2HeaderReader.Parse(Qcow2HeaderWriter.Build(header), "x");
        Assert.Equal(header.Extensions.Select(e => (e.Type, Convert.ToHexString(e.Data))), read.Extensions.Select(e => (e.Type, Convert.ToHexString(e.Data))));
        Assert.Equal(header, read with { Extensions = header.Extensions });
    }

    [Fact]
    public void Options_that_do_not_go_together_are_refused()
    {
        foreach (string options in (string[])["cluster_size=1000", "cluster_size=4M", "cluster_size=256", "refcount_bits=3", "refcount_bits=128", "compat=0.5",
            "compat=0.10,lazy_refcounts=on", "compat=0.10,refcount_bits=8", "compat=0.10,compression_type=zstd", "backing_fmt=raw", "backing_file=a,preallocation=full",
            "extended_l2=on,cluster_size=8k", "extended_l2=on,compat=0.10", "data_file_raw=on", "data_file=x,compat=0.10", "data_file=x,data_file_raw=on,backing_file=y",
            "compression_type=lzma", "preallocation=some"])
        {
            Assert.Throws<OptionException>(() => Qcow2CreateOptions.Take(KeyValueText.Parse(options)));
        }
    }

    private static async Ingot.Io.IoTask<ErrnoException> ThrowsAsync(byte[] bytes)
    {
        try
        {
            await Qcow2Fixture.OpenAsync(new MemoryDisk(bytes));
        }
        catch (ErrnoException e)
        {
            return e;
        }

        throw new Xunit.Sdk.XunitException("The image was opened.");
    }
}
