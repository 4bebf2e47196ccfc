using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Tests.Drivers.Qcow2.Fuzz;

/// <summary>A good image to spoil: its bytes, and where its fields lie.</summary>
internal sealed class FuzzImage
{
    private const int Length = 96 << 10;

    // The first extension of a new encrypted image, and the length of a LUKS header.
    private const int LuksField = 120;
    private const int LuksHeaderLength = 592;

    private FuzzImage(string name, byte[] bytes, byte[]? dataFile = null)
    {
        DataFile = dataFile;
        Name = name;
        Bytes = bytes;
        Fields = FindFields(bytes);
    }

    internal string Name { get; }

    internal byte[] Bytes { get; }

    /// <summary>What the external data file holds; null for images without one.</summary>
    internal byte[]? DataFile { get; }

    /// <summary>Offset and width of all numbers that mean something.</summary>
    internal (int Offset, int Width)[] Fields { get; }

    /// <summary>Makes images over the features of the format.</summary>
    internal static async IoTask<FuzzImage[]> MakeAllAsync() =>
    [
        await MakeAsync("512 bytes", ("cluster_size", "512")),
        await MakeAsync("4k", ("cluster_size", "4k")),
        await MakeAsync("version 2", ("cluster_size", "4k"), ("compat", "v2")),
        await MakeAsync("1 bit counts", ("cluster_size", "1k"), ("refcount_bits", "1")),
        await MakeAsync("64 bit counts", ("cluster_size", "1k"), ("refcount_bits", "64")),
        await MakeAsync("lazy", ("cluster_size", "4k"), ("lazy_refcounts", "on")),
        await MakeAsync("zstd", ("cluster_size", "4k"), ("compression_type", "zstd")),
        await MakeAsync("extended", ("cluster_size", "16k"), ("extended_l2", "on")),
        await MakeAsync("backing", ("cluster_size", "4k"), ("backing_file", "base.raw"), ("backing_fmt", "raw")),
        await MakeAsync("luks", ("cluster_size", "4k"), ("encrypt.format", "luks"), ("encrypt.key-secret", "s"), ("encrypt.iter-time", "0"), ("encrypt.cipher-alg", "aes-128"), ("encrypt.cipher-mode", "cbc")),
        WithSnapshot(await MakeAsync("snapshot", ("cluster_size", "4k"))),
        WithBitmap(await MakeAsync("bitmap", ("cluster_size", "4k"))),
        await MakeManagedAsync("managed", ("cluster_size", "2k")),
        await MakeManagedAsync("managed extended", ("cluster_size", "16k"), ("extended_l2", "on"), ("refcount_bits", "32"), ("compression_type", "zstd")),
        await MakeManagedAsync("managed version 2", ("cluster_size", "1k"), ("compat", "v2")),
        await MakeManagedAsync("data file", ("cluster_size", "1k"), ("data_file", "data")),
        await MakeManagedAsync("managed luks", [("cluster_size", "2k"), .. Qcow2Fixture.Encrypted("luks"), ("encrypt.cipher-mode", "cbc")]),
        await MakeManagedAsync("managed aes", [("cluster_size", "1k"), ("compat", "v2"), .. Qcow2Fixture.Encrypted("aes")]),
    ];

    // Snapshots, one with VM state, bitmaps with content, extended or compressed clusters that are shared.
    private static async IoTask<FuzzImage> MakeManagedAsync(string name, params (string Name, string Value)[] options)
    {
        var disk = new MemoryDisk();
        MemoryDisk? data = name == "data file" ? new MemoryDisk() : null;
        await Qcow2Fixture.CreateAsync(disk, Length, data, options);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk, dataFile: data);
        bool isEncrypted = options.Any(o => o.Name == "encrypt.format");
        if (!options.Contains(("compat", "v2")))
        {
            await node.AddBitmapAsync("one", 512);
            await node.AddBitmapAsync("two");
        }

        await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(30_000, 1));
        if (data is null)
        {
            byte[] cluster = new byte[16 << 10];
            Qcow2Fixture.Pattern(900, 3).CopyTo(cluster, 100);
            await Qcow2Fixture.WriteAsync(node, 48 << 10, cluster, isEncrypted ? WriteFlags.None : WriteFlags.Compressed);
            await node.CreateSnapshotAsync("disk", DateTimeOffset.UnixEpoch);
            using var state = new IoBuffer(3000);
            state.Vector.Fill(5);
            await node.WriteVmStateAsync(0, state.Vector);
            await node.CreateSnapshotAsync("vm", DateTimeOffset.UnixEpoch, 3000);
        }

        await Qcow2Fixture.WriteAsync(node, 50_000, Qcow2Fixture.Pattern(5000, 2));
        await node.WriteZeroesAsync(64 << 10, 8 << 10, ZeroFlags.None);
        await node.CloseAsync();
        return new FuzzImage(name, disk.Snapshot(), data?.Snapshot());
    }

    private static async IoTask<FuzzImage> MakeAsync(string name, params (string Name, string Value)[] options)
    {
        var disk = new MemoryDisk();
        await Qcow2Fixture.CreateAsync(disk, Length, options);
        Qcow2Node node = await Qcow2Fixture.OpenAsync(disk);
        await Qcow2Fixture.WriteAsync(node, 0, Qcow2Fixture.Pattern(9000, 1));
        await Qcow2Fixture.WriteAsync(node, 50_000, Qcow2Fixture.Pattern(5000, 2));
        if (name is not ("1 bit counts" or "luks"))
        {
            byte[] cluster = new byte[32 << 10];
            cluster.AsSpan().Fill(7);
            Qcow2Fixture.Pattern(900, 3).CopyTo(cluster, 100);
            await Qcow2Fixture.WriteAsync(node, 16 << 10, cluster, WriteFlags.Compressed);
        }

        await node.WriteZeroesAsync(64 << 10, 16 << 10, ZeroFlags.None);
        await node.CloseAsync();
        byte[] bytes = disk.Snapshot();
        if (name == "lazy")
        {
            bytes[79] |= 1;
        }

        return new FuzzImage(name, bytes);
    }

    // A snapshot that shares everything: made by hand so that its bytes are known.
    private static FuzzImage WithSnapshot(FuzzImage image)
    {
        const int Cluster = 4096;
        int end = (image.Bytes.Length + Cluster - 1) & -Cluster;
        byte[] bytes = new byte[end + (2 * Cluster)];
        image.Bytes.CopyTo(bytes, 0);
        int l1 = (int)Read(bytes, 40, 8);
        bytes.AsSpan(l1, Cluster).CopyTo(bytes.AsSpan(end + Cluster));
        Write(bytes, 60, 4, 1);
        Write(bytes, 64, 8, (ulong)end);
        Write(bytes, end, 8, (ulong)(end + Cluster));
        Write(bytes, end + 8, 4, Read(bytes, 36, 4));
        Write(bytes, end + 12, 2, 1);
        Write(bytes, end + 14, 2, 4);
        Write(bytes, end + 36, 4, 16);
        Write(bytes, end + 48, 8, Length);
        "1name"u8.CopyTo(bytes.AsSpan(end + 56));
        return new FuzzImage(image.Name, bytes);
    }

    // One bitmap without set bits, in an extension before the end mark of the header.
    private static FuzzImage WithBitmap(FuzzImage image)
    {
        const int Cluster = 4096;
        int end = (image.Bytes.Length + Cluster - 1) & -Cluster;
        byte[] bytes = new byte[end + (2 * Cluster)];
        image.Bytes.CopyTo(bytes, 0);
        int extension = (int)Read(bytes, 100, 4);
        while (Read(bytes, extension, 4) != ExtensionEnd)
        {
            extension += 8 + (((int)Read(bytes, extension + 4, 4) + 7) & ~7);
        }

        Write(bytes, extension, 4, ExtensionBitmaps);
        Write(bytes, extension + 4, 4, 24);
        Write(bytes, extension + 8, 4, 1);
        Write(bytes, extension + 16, 8, 32);
        Write(bytes, extension + 24, 8, (ulong)end);
        bytes[95] |= 1;
        Write(bytes, end, 8, (ulong)(end + Cluster));
        Write(bytes, end + 8, 4, 1);
        bytes[end + 16] = 1;
        bytes[end + 17] = 16;
        Write(bytes, end + 18, 2, 4);
        "bits"u8.CopyTo(bytes.AsSpan(end + 24));
        return new FuzzImage(image.Name, bytes);
    }

    private static (int Offset, int Width)[] FindFields(byte[] bytes)
    {
        var fields = new List<(int Offset, int Width)>
        {
            (4, 4), (8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8), (72, 8), (80, 8), (88, 8), (96, 4), (100, 4), (104, 1),
        };
        int cluster = 1 << (int)Read(bytes, 20, 4);
        for (int at = 112; at < 400; at += 4)
        {
            fields.Add((at, 4));
        }

        AddTable((int)Read(bytes, 40, 8), 8, fields);
        int l1 = (int)Read(bytes, 40, 8);
        for (int i = 0; i < 4 && i < (int)Read(bytes, 36, 4); i++)
        {
            AddTable((int)(Read(bytes, l1 + (i * 8), 8) & OffsetMask), Math.Min(cluster / 8, 128), fields);
        }

        int counts = (int)Read(bytes, 48, 8);
        AddTable(counts, 8, fields);
        AddTable((int)Read(bytes, counts, 8), 32, fields);
        AddTable((int)Read(bytes, 64, 8), 8, fields);
        if (Read(bytes, 32, 4) == 2)
        {
            // But no counts of rounds: what they cost is bounded, but long.
            int luks = (int)Read(bytes, LuksField, 8);
            fields.AddRange(Enumerable.Range(0, LuksHeaderLength / 4).Select(i => (luks + (i * 4), 4)).Where(f => f.Item1 - luks != 164 && (f.Item1 - luks) % 48 != 20));
        }

        AddSnapshots(bytes, fields);
        AddBitmaps(bytes, fields);
        AddTable(bytes.Length - 8192, 8, fields);
        AddTable(bytes.Length - 4096, 4, fields);
        return [.. fields.Where(field => field.Offset >= 0 && field.Offset + field.Width <= bytes.Length)];
    }

    private static void AddSnapshots(byte[] bytes, List<(int Offset, int Width)> fields)
    {
        int at = (int)Read(bytes, 64, 8);
        for (int i = 0; at > 0 && i < (int)Read(bytes, 60, 4); i++)
        {
            fields.AddRange([(at, 8), (at + 8, 4), (at + 12, 2), (at + 14, 2), (at + 32, 4), (at + 36, 4), (at + 40, 8), (at + 48, 8)]);
            int l1 = (int)Read(bytes, at, 8);
            AddTable(l1, (int)Read(bytes, at + 8, 4), fields);
            AddTable((int)(Read(bytes, l1, 8) & OffsetMask), 32, fields);
            at += (40 + (int)(Read(bytes, at + 12, 2) + Read(bytes, at + 14, 2) + Read(bytes, at + 36, 4)) + 7) & ~7;
        }
    }

    private static void AddBitmaps(byte[] bytes, List<(int Offset, int Width)> fields)
    {
        int at = Read(bytes, 4, 4) < 3 ? bytes.Length : (int)Read(bytes, 100, 4);
        while (at + 32 < bytes.Length && Read(bytes, at, 4) is not (ExtensionBitmaps or ExtensionEnd))
        {
            at += 8 + (((int)Read(bytes, at + 4, 4) + 7) & ~7);
        }

        if (at + 32 >= bytes.Length || Read(bytes, at, 4) == ExtensionEnd)
        {
            return;
        }

        fields.AddRange([(at, 4), (at + 4, 4), (at + 8, 4), (at + 12, 4), (at + 16, 8), (at + 24, 8), (88, 8)]);
        int entry = (int)Read(bytes, at + 24, 8);
        for (int i = 0; i < (int)Read(bytes, at + 8, 4); i++)
        {
            fields.AddRange([(entry, 8), (entry + 8, 4), (entry + 12, 4), (entry + 16, 1), (entry + 17, 1), (entry + 18, 2), (entry + 20, 4)]);
            AddTable((int)Read(bytes, entry, 8), Math.Min(8, (int)Read(bytes, entry + 8, 4)), fields);
            entry += (24 + (int)(Read(bytes, entry + 18, 2) + Read(bytes, entry + 20, 4)) + 7) & ~7;
        }
    }

    private static void AddTable(int offset, int entries, List<(int Offset, int Width)> fields)
        => fields.AddRange(Enumerable.Range(0, offset == 0 ? 0 : entries).Select(i => (offset + (i * 8), 8)));

    internal static ulong Read(ReadOnlySpan<byte> bytes, int offset, int width)
    {
        ulong value = 0;
        for (int i = 0; i < width; i++)
        {
            value = (value << 8) | bytes[offset + i];
        }

        return value;
    }

    internal static void Write(Span<byte> bytes, int offset, int width, ulong value)
    {
        Span<byte> word = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(word, value);
        word[(8 - width)..].CopyTo(bytes[offset..]);
    }
}
