using Ingot.Block;
using Ingot.Drivers.File;
using Ingot.Io;

namespace Ingot.Drivers.Crypto;

/// <summary>Driver "luks": a LUKS1 volume in a file, unlocked with the secret that key-secret names. Its header may lie in another file.</summary>
public sealed class LuksDriver : BlockDriver
{
    private const int Sector = SectorCipher.SectorSize;

    /// <inheritdoc/>
    public override string Name => "luks";

    /// <inheritdoc/>
    public override IReadOnlyList<(string Name, string Help)> CreateOptions { get; } =
    [
        ("key-secret", "ID of the secret that provides the keyslot passphrase"),
        .. LuksCreateOptions.Options,
        ("detached-header", "Create a detached LUKS header"),
        ("size", "Virtual disk size"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<(string Name, string Help)> AmendOptions => LuksAmend.Options;

    /// <inheritdoc/>
    public override int Probe(ReadOnlySpan<byte> head) => head.Length > 7 && head.StartsWith(LuksHeader.Magic) && head[6] == 0 && head[7] == 1 ? 100 : 0;

    /// <summary>How long the file of a new volume will be.</summary>
    /// <param name="size">The virtual size.</param>
    /// <param name="options">Creation options; taken.</param>
    /// <returns>Bytes.</returns>
    public static long MeasureFile(long size, OptionSet options)
    {
        LuksCreateOptions taken = LuksCreateOptions.Take(options, "");
        long payload = LuksHeader.LengthFor(taken.KeyLength);
        return payload <= long.MaxValue - size ? payload + size : throw new OptionException("The image size is too large for file format 'luks'");
    }

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        string? secret = request.Options.TakeString("key-secret");
        object? headerOption = request.Options.TakeReference("header");
        ChildNode file = await request.OpenChildAsync("file", request.Flags & ~OpenFlags.NoIo) ?? throw new OptionException("A block device must be specified for \"file\"");
        ChildNode? header = null;
        try
        {
            header = await request.Graph.OpenChildAsync(headerOption, "header", request.Flags);
            return await OpenAsync(request, file, header, secret);
        }
        catch
        {
            await (header?.CloseAsync() ?? IoTask.Completed);
            await file.CloseAsync();
            throw;
        }
    }

    /// <inheritdoc/>
    public override async IoTask CreateAsync(CreateRequest request)
    {
        bool isDetached = request.Options.TakeBool("detached-header") ?? false;
        LuksCreateOptions options = LuksCreateOptions.Take(request.Options, "");
        long headerLength = LuksHeader.LengthFor(options.KeyLength);
        if (request.Size > long.MaxValue - headerLength - Sector)
        {
            throw new Linux.ErrnoException(Linux.Errno.EFBIG, "The image size is too large for file format 'luks'");
        }

        long length = headerLength + (isDetached ? 0 : request.Size);
        await FreshFile.FillAsync(request.FileName, length, request.Options, async () =>
        {
            byte[] password = request.Graph.Secrets.GetPassword(options.KeySecret);
            ChildNode file = await FreshFile.OpenAsync(request.Graph, request.FileName, OpenFlags.ReadWrite);
            try
            {
                await new LuksVolume(new HostFile(file), 0, isDetached).FormatAsync(options, password);
            }
            finally
            {
                await file.CloseAsync();
            }
        });
    }

    private static async IoTask<BlockNode> OpenAsync(OpenRequest request, ChildNode file, ChildNode? headerFile, string? secret)
    {
        bool isDetached = headerFile is not null;
        var volume = new LuksVolume(new HostFile(headerFile ?? file), 0, isDetached);
        LuksHeader header = await volume.ReadHeaderAsync();
        long payload = isDetached ? 0 : header.PayloadOffset;
        if (file.Node.Length < payload)
        {
            throw new ImageFormatException($"The LUKS payload begins at {payload}, behind the end of the file ({file.Node.Length} bytes)");
        }

        SectorCipherPool? ciphers = null;
        if ((request.Flags & OpenFlags.NoIo) == 0)
        {
            byte[] password = request.Graph.Secrets.GetPassword(secret ?? throw new OptionException("Parameter 'key-secret' is required for cipher"));
            ciphers = new SectorCipherPool(header.Format, await volume.UnlockAsync(header, password, request.Flags));
        }

        return new LuksNode(request, file, headerFile, volume, header, ciphers, secret);
    }
}
