using System.Buffers.Binary;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Qcow2;

/// <summary>Driver "qcow2": versions 2 and 3.</summary>
public sealed class Qcow2Driver : BlockDriver
{
    /// <inheritdoc/>
    public override string Name => "qcow2";

    /// <inheritdoc/>
    public override bool SupportsBacking => true;

    /// <inheritdoc/>
    public override IReadOnlyList<(string Name, string Help)> CreateOptions => Qcow2Create.Options;

    /// <inheritdoc/>
    public override IReadOnlyList<(string Name, string Help)> AmendOptions => Qcow2Amend.Options;

    /// <inheritdoc/>
    public override int Probe(ReadOnlySpan<byte> head)
        => head.Length >= Qcow2Constants.Version2HeaderLength
            && BinaryPrimitives.ReadUInt32BigEndian(head) == Qcow2Constants.Magic
            && BinaryPrimitives.ReadUInt32BigEndian(head[4..]) >= 2 ? 100 : 0;

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        Qcow2Options options = Qcow2Options.Take(request.Options, request.Flags);
        bool hasBackingOption = request.Options.Has("backing");
        object? backing = request.Options.TakeReference("backing");
        object? dataFile = request.Options.TakeReference("data-file");
        OptionSet encrypt = request.Options.TakeSet("encrypt");
        // The tables are read in any case, so that nobody may write the file meanwhile.
        ChildNode file = await request.OpenChildAsync("file", request.Flags & ~(OpenFlags.NoBacking | OpenFlags.NoIo))
            ?? throw new OptionException("A block device must be specified for \"file\"");
        try
        {
            return await OpenAsync(request, file, options, encrypt, dataFile, backing, hasBackingOption);
        }
        catch when (file.IsOwned && request.ProbedFile is null)
        {
            await file.CloseAsync();
            throw;
        }
    }

    /// <inheritdoc/>
    public override void ChangeOptions(OptionSet options, OptionSet changes) => Qcow2Options.Change(options, changes);

    /// <inheritdoc/>
    public override IoTask CreateAsync(CreateRequest request) => Qcow2Create.RunAsync(request);

    private static async IoTask<BlockNode> OpenAsync(OpenRequest request, ChildNode file, Qcow2Options options, OptionSet encrypt, object? dataFile, object? backing, bool hasBackingOption)
    {
        Qcow2Image image = await Qcow2Image.OpenAsync(file, request.Flags, options, request.Graph.Warn, request.Graph.Report);
        if (await DataFile.OpenAsync(request, image, dataFile) is { } data)
        {
            image.AttachDataFile(data);
        }

        image.Encryption = await Qcow2Encryption.OpenAsync(image, encrypt, request.Graph.Secrets);
        bool wantsBacking = (request.Flags & OpenFlags.NoBacking) == 0;
        if (wantsBacking)
        {
            image.Backing = await OpenBackingAsync(request, image, backing, hasBackingOption);
        }

        if (request.IsReadWrite)
        {
            await image.ClearUnknownFeaturesAsync();
        }

        var node = new Qcow2Node(request.NodeName, image, request.Flags);
        bool repairs = request.IsReadWrite && (request.Flags & OpenFlags.Check) == 0 && image.Header.Current.IsDirty;
        if (repairs)
        {
            await RepairDirtyAsync(node, request.Graph.Warn);
        }

        return node;
    }

    // An image that was not closed has counts that can't be trusted; writing must not begin with them.
    private static async IoTask RepairDirtyAsync(Qcow2Node node, Action<string>? tell)
    {
        Qcow2CheckResult result = await node.CheckAsync(Qcow2Repair.All, tell);
        if (result.Corruptions > 0 || result.CheckErrors > 0)
        {
            if (node.Backing is not null && node.Image.Backing is { } backing)
            {
                await backing.CloseAsync();
            }

            throw new ErrnoException(Errno.EIO, $"Could not repair dirty image '{node.Image.File.FileName}': {result.Corruptions} corruptions and {result.CheckErrors} check errors are left");
        }
    }

    private static async IoTask<ChildNode?> OpenBackingAsync(OpenRequest request, Qcow2Image image, object? backing, bool hasBackingOption)
    {
        OpenFlags flags = request.Flags & ~(OpenFlags.ReadWrite | OpenFlags.Check | OpenFlags.WriteThrough);
        OptionSet options = backing as OptionSet ?? new OptionSet();
        if (backing is string { Length: > 0 } || options.Has("file") || options.Has("filename"))
        {
            return await request.Graph.OpenBackingChildAsync(request, image.File.BaseFileName, backing, flags);
        }

        // Options without a file, as in "backing.driver=raw", are for the file that the image names.
        Qcow2Header header = image.Header.Current;
        if (header.BackingFile is null)
        {
            return options.IsEmpty ? null : await request.Graph.OpenBackingChildAsync(request, image.File.BaseFileName, options, flags);
        }

        if (hasBackingOption && options.IsEmpty)
        {
            return null;
        }

        UntrustedImage.RefuseName(request.Flags, image.File.FileName, "backing file", header.BackingFile);
        string name = BackingName.Resolve(header.BackingFile, image.File.BaseFileName);
        if (header.BackingFormat is not null && !options.Has("driver"))
        {
            options.Set("driver", header.BackingFormat);
        }

        try
        {
            return new ChildNode(await request.Graph.OpenBackingFileAsync(request, image.File.BaseFileName, name, options, flags), IsOwned: true);
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(e.Errno, $"Could not open backing file: {e.Message}", e);
        }
    }
}
