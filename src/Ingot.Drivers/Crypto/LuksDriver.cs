using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Crypto;

/// <summary>Driver "luks": a LUKS1 volume in a file, unlocked with the secret that key-secret names.</summary>
public sealed class LuksDriver : BlockDriver
{
    /// <inheritdoc/>
    public override string Name => "luks";

    /// <inheritdoc/>
    public override int Probe(ReadOnlySpan<byte> head) => head.Length > 7 && head.StartsWith(LuksHeader.Magic) && head[6] == 0 && head[7] == 1 ? 100 : 0;

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        string? secret = request.Options.TakeString("key-secret");
        ChildNode file = await request.OpenChildAsync("file", request.Flags) ?? throw new OptionException("A block device must be specified for \"file\"");
        try
        {
            return await OpenAsync(request, file, secret);
        }
        catch
        {
            await file.CloseAsync();
            throw;
        }
    }

    private static async IoTask<BlockNode> OpenAsync(OpenRequest request, ChildNode file, string? secret)
    {
        LuksHeader header = await LuksVolume.ReadHeaderAsync(file.Node);
        if (file.Node.Length < header.PayloadOffset)
        {
            throw new ImageFormatException($"The LUKS payload begins at {header.PayloadOffset}, behind the end of the file ({file.Node.Length} bytes)");
        }

        if ((request.Flags & OpenFlags.NoIo) != 0)
        {
            return new LuksNode(request.NodeName, file, header, null, isWritable: false);
        }

        byte[] password = request.Graph.Secrets.Get(secret ?? throw new OptionException("Parameter 'key-secret' is required for cipher")).ToArray();
        byte[] key = await LuksVolume.UnlockAsync(file.Node, header, password);
        return new LuksNode(request.NodeName, file, header, new SectorCipherPool(header.Format, key), request.IsReadWrite);
    }
}

/// <summary>An unlocked volume. Sectors are counted from the start of the payload.</summary>
internal sealed class LuksNode : BlockNode
{
    private const int Sector = SectorCipher.SectorSize;
    private const int MaxChunk = 256 * 1024;
    private const int MaxInline = 64 * 1024;

    private readonly ChildNode _file;
    private readonly LuksHeader _header;
    private readonly SectorCipherPool? _ciphers;
    private readonly bool _isWritable;
    private readonly RangeLock _writes = new();
    private bool _isClosed;

    internal LuksNode(string? nodeName, ChildNode file, LuksHeader header, SectorCipherPool? ciphers, bool isWritable)
        : base(nodeName)
    {
        _file = file;
        _header = header;
        _ciphers = ciphers;
        _isWritable = isWritable;
        Length = (file.Node.Length - header.PayloadOffset) / Sector * Sector;
    }

    public override string DriverName => "luks";

    public override long Length { get; }

    public override BlockFeatures Features => (_file.Node.Features & BlockFeatures.Fua) | (_isWritable ? _file.Node.Features & BlockFeatures.Write : BlockFeatures.None);

    public override IEnumerable<(string Role, BlockNode Node)> Children => [("file", _file.Node)];

    public override BlockNode File => _file.Node;

    public override async IoTask<ImageInfo> GetInfoAsync()
    {
        ImageInfo below = await _file.Node.GetInfoAsync();
        return new ImageInfo
        {
            ActualSize = below.ActualSize,
            IsEncrypted = true,
            Specific =
            [
                ("ivgen-alg", _header.Format.NumberingName),
                ("detached-header", false),
                ("hash-alg", _header.HashName),
                ("cipher-alg", _header.CipherName),
                ("uuid", _header.Uuid),
                ("cipher-mode", _header.Format.ModeName),
                ("payload-offset", _header.PayloadOffset),
                ("master-key-iters", _header.DigestIterations),
            ],
        };
    }

    public override IoTask CloseAsync()
    {
        if (_isClosed)
        {
            return IoTask.Completed;
        }

        _isClosed = true;
        _ciphers?.Close();
        return _file.CloseAsync();
    }

    // The cipher text never lies in the caller's memory: a guest could change it on the way and have the key applied to what it likes.
    protected override async IoTask ReadCore(long offset, IoVector data)
    {
        for (long done = 0; done < data.Length;)
        {
            var piece = Piece.At(offset + done, data.Length - done);
            IoBuffer buffer = BufferPool.Local.Rent(piece.Whole);
            try
            {
                await ReadSectorsAsync(piece.Start, buffer.Slice(0, piece.Whole));
                data.Slice(done, piece.Length).CopyFrom(buffer.Slice(piece.Head, piece.Length));
            }
            finally
            {
                BufferPool.Local.Return(buffer);
            }

            done += piece.Length;
        }
    }

    protected override async IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        for (long done = 0; done < data.Length;)
        {
            var piece = Piece.At(offset + done, data.Length - done);
            await WritePieceAsync(piece, data.Slice(done, piece.Length), flags & ~WriteFlags.Compressed);
            done += piece.Length;
        }
    }

    protected override IoTask FlushCore() => _file.Node.FlushAsync();

    private async IoTask WritePieceAsync(Piece piece, IoVector data, WriteFlags flags)
    {
        using RangeLock.Held held = await _writes.LockAsync(piece.Start, piece.Whole);
        IoBuffer buffer = BufferPool.Local.Rent(piece.Whole);
        try
        {
            IoVector sectors = buffer.Slice(0, piece.Whole);
            if (piece.Whole != piece.Length)
            {
                await ReadSectorsAsync(piece.Start, sectors);
            }

            sectors.Slice(piece.Head, piece.Length).CopyFrom(data);
            await ApplyAsync(piece.Start, sectors, isEncryption: true);
            await _file.Node.WriteAsync(_header.PayloadOffset + piece.Start, sectors, flags);
        }
        finally
        {
            BufferPool.Local.Return(buffer);
        }
    }

    private async IoTask ReadSectorsAsync(long start, IoVector sectors)
    {
        await _file.Node.ReadAsync(_header.PayloadOffset + start, sectors);
        await ApplyAsync(start, sectors, isEncryption: false);
    }

    private async IoTask ApplyAsync(long start, IoVector sectors, bool isEncryption)
    {
        SectorCipherPool ciphers = _ciphers ?? throw new ErrnoException(Errno.EIO, $"Node '{Name}' was opened for its facts alone and is locked");
        SectorCipher cipher = ciphers.Rent();
        if (sectors.Length <= MaxInline)
        {
            Apply(cipher, start / Sector, sectors, isEncryption);
        }
        else
        {
            await Offload.Run(() => Apply(cipher, start / Sector, sectors, isEncryption));
        }

        ciphers.Return(cipher);
    }

    private static bool Apply(SectorCipher cipher, long sector, IoVector sectors, bool isEncryption)
    {
        if (isEncryption)
        {
            cipher.Encrypt(sector, sectors, sectors);
        }
        else
        {
            cipher.Decrypt(sector, sectors, sectors);
        }

        return true;
    }

    /// <summary>A part of a request and the whole sectors around it.</summary>
    /// <param name="Start">Where the sectors begin.</param>
    /// <param name="Whole">Bytes of whole sectors.</param>
    /// <param name="Head">Bytes of the first sector in front of the part.</param>
    /// <param name="Length">Bytes of the part.</param>
    private readonly record struct Piece(long Start, int Whole, int Head, int Length)
    {
        internal static Piece At(long offset, long length)
        {
            int head = (int)(offset % Sector);
            int part = (int)Math.Min(length, MaxChunk - head);
            return new Piece(offset - head, (head + part + Sector - 1) / Sector * Sector, head, part);
        }
    }
}
