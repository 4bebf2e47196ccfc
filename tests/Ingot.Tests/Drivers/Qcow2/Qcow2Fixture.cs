using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Crypto;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Images in memory for tests.</summary>
internal static class Qcow2Fixture
{
    /// <summary>The secret "s", with which encrypted images are made and opened.</summary>
    internal static SecretTable Secrets { get; } = NewSecrets();

    /// <summary>Options that encrypt an image with the secret "s".</summary>
    internal static (string Name, string Value)[] Encrypted(string format)
        => format == "aes" ? [("encrypt.format", "aes"), ("encrypt.key-secret", "s")]
            : [("encrypt.format", format), ("encrypt.key-secret", "s"), ("encrypt.iter-time", "0"), ("encrypt.cipher-alg", "aes-128")];

    internal static OptionSet Options(params (string Name, string Value)[] values)
    {
        var options = new OptionSet();
        foreach ((string name, string value) in values)
        {
            options.Set(name, value);
        }

        return options;
    }

    internal static IoTask CreateAsync(MemoryDisk disk, long size, params (string Name, string Value)[] options)
        => CreateAsync(disk, size, null, options);

    internal static IoTask CreateAsync(MemoryDisk disk, long size, MemoryDisk? dataFile, params (string Name, string Value)[] options)
    {
        OptionSet set = Options(options);
        if (dataFile is not null)
        {
            set.Set("data_file", "data");
        }

        return Qcow2Create.FormatAsync(
            new ChildNode(disk, IsOwned: false),
            size,
            Qcow2CreateOptions.Take(set),
            dataFile is null ? null : new ChildNode(dataFile, IsOwned: false),
            Secrets);
    }

    internal static async IoTask<Qcow2Node> OpenAsync(BlockNode disk, BlockNode? backing = null, OpenFlags flags = OpenFlags.ReadWrite, Qcow2Options? options = null, BlockNode? dataFile = null)
    {
        Qcow2Image image = await Qcow2Image.OpenAsync(new ChildNode(disk, IsOwned: false), flags, options ?? new Qcow2Options());
        if (dataFile is not null)
        {
            image.AttachDataFile(new ChildNode(dataFile, IsOwned: false));
        }

        image.Encryption = await Qcow2Encryption.OpenAsync(image, Options(("key-secret", "s")), Secrets);
        image.Backing = backing is null ? null : new ChildNode(backing, IsOwned: false);
        return new Qcow2Node(null, image, flags);
    }

    internal static async IoTask<byte[]> ReadAsync(BlockNode node, long offset, int length)
    {
        using var buffer = new IoBuffer(Math.Max(1, length));
        buffer.Vector.Fill(0x99);
        await node.ReadAsync(offset, buffer.Slice(0, length));
        return buffer.Span[..length].ToArray();
    }

    internal static async IoTask WriteAsync(BlockNode node, long offset, byte[] bytes, WriteFlags flags = WriteFlags.None)
    {
        using var buffer = new IoBuffer(Math.Max(1, bytes.Length));
        bytes.CopyTo(buffer.Span);
        await node.WriteAsync(offset, buffer.Slice(0, bytes.Length), flags);
    }

    private static SecretTable NewSecrets()
    {
        var secrets = new SecretTable();
        secrets.Add(Options(("id", "s"), ("data", "word")));
        return secrets;
    }

    internal static byte[] Pattern(int length, int seed)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
