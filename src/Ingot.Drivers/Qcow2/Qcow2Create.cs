using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Drivers.File;
using Ingot.Io;
using Ingot.Linux;

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
        ("lazy_refcounts", "Postpone refcount updates"),
        ("preallocation", "Preallocation mode (allowed values: off, metadata, falloc, full)"),
        ("refcount_bits", "Width of a reference count entry in bits"),
        ("size", "Virtual disk size"),
    ];

    internal static async IoTask RunAsync(CreateRequest request)
    {
        Qcow2CreateOptions options = Qcow2CreateOptions.Take(request.Options);
        string path = BlockGraph.StripFilePrefix(request.FileName);
        bool existed = Libc.TryStat(path) is not null;
        await FileDriver.CreateFileAsync(request.FileName, 0, request.Options);
        try
        {
            await FormatAsync(await OpenFileAsync(request, OpenFlags.ReadWrite | OpenFlags.NoFlush), request.Size, options);

            // Only the finished image is worth waiting for the disk.
            ChildNode file = await OpenFileAsync(request, OpenFlags.ReadWrite);
            await file.Node.FlushAsync();
            await file.CloseAsync();
        }
        catch when (!existed)
        {
            _ = Libc.unlink(path);
            throw;
        }
    }

    /// <summary>Makes an image in a node that is empty, or whose content does not matter; closes the node.</summary>
    internal static async IoTask FormatAsync(ChildNode file, long size, Qcow2CreateOptions options)
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
        var node = new Qcow2Node(null, image, OpenFlags.ReadWrite);
        try
        {
            await node.ResizeAsync((size + SectorLength - 1) & -SectorLength, options.Preallocation);
        }
        finally
        {
            await node.CloseAsync();
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

    private static async IoTask<ChildNode> OpenFileAsync(CreateRequest request, OpenFlags flags)
    {
        var options = new OptionSet();
        options.Set("filename", request.FileName);
        return await request.Graph.OpenChildAsync(options, "file", flags) ?? throw new OptionException($"Could not open '{request.FileName}'");
    }
}
