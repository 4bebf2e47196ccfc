using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Drivers.Crypto;
using Ingot.Drivers.File;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>Makes new images: a header, a refcount table and one block, then grows that empty image to its size.</summary>
internal static class Qcow2Create
{
    private const int SectorLength = 512;

    internal static IReadOnlyList<(string Name, string Help)> Options { get; } =
    [
        ("backing_file", "File name of a base image"),
        ("backing_fmt", "Image format of the base image"),
        ("cluster_size", "qcow2 cluster size"),
        ("compat", "Compatibility level (v2 [0.10] or v3 [1.1])"),
        ("compression_type", "Compression method used for image cluster compression"),
        ("data_file", "File name of an external data file"),
        ("data_file_raw", "The external data file must stay valid as a raw image"),
        .. Qcow2EncryptionOptions.Options,
        ("extended_l2", "Extended L2 tables"),
        ("lazy_refcounts", "Postpone refcount updates"),
        ("preallocation", "Preallocation mode (allowed values: off, metadata, falloc, full)"),
        ("refcount_bits", "Width of a reference count entry in bits"),
        ("size", "Virtual disk size"),
    ];

    internal static async IoTask RunAsync(CreateRequest request)
    {
        Qcow2CreateOptions options = Qcow2CreateOptions.Take(request.Options);
        if (options.DataFile == request.FileName)
        {
            throw new OptionException($"'{request.FileName}' can't be the image and its external data file at the same time");
        }

        OptionSet dataFileOptions = request.Options.Clone();
        await FreshFile.FillAsync(request.FileName, 0, request.Options, () => options.DataFile is { } dataFile
            ? FreshFile.FillAsync(dataFile, 0, dataFileOptions, () => FormatAsync(request, options))
            : FormatAsync(request, options));
    }

    private static async IoTask FormatAsync(CreateRequest request, Qcow2CreateOptions options)
    {
        ChildNode? dataFile = options.DataFile is { } name ? await FreshFile.OpenAsync(request.Graph, name, OpenFlags.ReadWrite | OpenFlags.NoFlush) : null;
        await FormatAsync(await FreshFile.OpenAsync(request.Graph, request.FileName, OpenFlags.ReadWrite | OpenFlags.NoFlush), request.Size, options, dataFile, request.Graph.Secrets);

        // Only the finished image is worth waiting for the disk.
        ChildNode file = await FreshFile.OpenAsync(request.Graph, request.FileName, OpenFlags.ReadWrite);
        await file.Node.FlushAsync();
        await file.CloseAsync();
    }

    /// <summary>Makes an image in a node that is empty, or whose content does not matter; closes the node.</summary>
    internal static async IoTask FormatAsync(ChildNode file, long size, Qcow2CreateOptions options, ChildNode? dataFile = null, SecretTable? secrets = null)
    {
        Qcow2Header header = options.ToHeader();
        try
        {
            await WriteFirstClustersAsync(new HostFile(file), header);
        }
        catch
        {
            await file.CloseAsync();
            throw;
        }

        Qcow2Image image = await Qcow2Image.OpenAsync(file, OpenFlags.ReadWrite, new Qcow2Options { LazyRefcounts = false });
        if (dataFile is { } data)
        {
            image.AttachDataFile(data);
        }

        var node = new Qcow2Node(null, image, OpenFlags.ReadWrite);
        try
        {
            await FillAsync(node, (size + SectorLength - 1) & -SectorLength, options, secrets ?? new SecretTable());
        }
        finally
        {
            await node.CloseAsync();
        }
    }

    // The place of the key slots is QEMU's; but what is preallocated is stored encrypted.
    private static async IoTask FillAsync(Qcow2Node node, long size, Qcow2CreateOptions options, SecretTable secrets)
    {
        bool isPlain = options.Encryption is null || options.Preallocation == Preallocation.Off;
        if (isPlain)
        {
            await node.ResizeAsync(size, options.Preallocation);
        }

        if (options.Encryption is { } encryption)
        {
            await Qcow2Encryption.CreateAsync(node.Image, encryption, secrets);
        }

        if (!isPlain)
        {
            await node.ResizeAsync(size, options.Preallocation);
        }
    }

    // Cluster 0 is the header, 1 the refcount table, 2 its first block, which counts these three.
    private static async IoTask WriteFirstClustersAsync(HostFile file, Qcow2Header header)
    {
        int clusterLength = 1 << header.ClusterBits;
        header = header with { RefcountTableOffset = clusterLength, RefcountTableClusters = 1 };
        var tables = new byte[2 * clusterLength];
        BinaryPrimitives.WriteUInt64BigEndian(tables, 2UL * (ulong)clusterLength);
        for (int cluster = 0; cluster < 3; cluster++)
        {
            RefcountTable.WriteCount(tables.AsSpan(clusterLength), cluster, header.RefcountOrder, 1);
        }

        // Until the header is there, nobody takes the file for an image.
        await file.WriteBytesAsync(clusterLength, tables);
        await file.WriteBytesAsync(0, Qcow2HeaderWriter.Build(header));
    }
}
