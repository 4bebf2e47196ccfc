using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Crypto;

/// <summary>An unlocked volume. Sectors are counted from the start of the payload.</summary>
internal sealed class LuksNode : BlockNode, IAmendable
{
    private const int Sector = SectorCipher.SectorSize;

    private readonly ChildNode _child;
    private readonly ChildNode? _headerFile;
    private readonly HostFile _file;
    private readonly LuksVolume _volume;
    private readonly SecretTable _secrets;
    private readonly SectorCipherPool? _ciphers;
    private readonly EncryptedSectors? _sectors;
    private readonly bool _isWritable;
    private readonly long _payload;
    private readonly string? _keySecret;
    private LuksHeader _header;
    private bool _isClosed;

    internal LuksNode(OpenRequest request, ChildNode file, ChildNode? headerFile, LuksVolume volume, LuksHeader header, SectorCipherPool? ciphers, string? keySecret)
        : base(request.NodeName)
    {
        _child = file;
        _headerFile = headerFile;
        _file = new HostFile(file);
        _volume = volume;
        _secrets = request.Graph.Secrets;
        _ciphers = ciphers;
        _sectors = ciphers is null ? null : new EncryptedSectors(ciphers);
        _isWritable = request.IsReadWrite && ciphers is not null;
        _payload = headerFile is null ? header.PayloadOffset : 0;
        _header = header;
        _keySecret = keySecret;
    }

    public override string DriverName => "luks";

    public override long Length => Math.Max(0, (_child.Node.Length - _payload + Sector - 1) / Sector * Sector);

    public override BlockFeatures Features => (_child.Node.Features & BlockFeatures.Fua)
        | (_isWritable ? _child.Node.Features & (BlockFeatures.Write | BlockFeatures.Resize) : BlockFeatures.None);

    public override IEnumerable<(string Role, BlockNode Node)> Children
        => _headerFile is { } header ? [("file", _child.Node), ("header", header.Node)] : [("file", _child.Node)];

    public override BlockNode File => _child.Node;

    public override string FileName => _keySecret is null ? base.FileName
        : $"json:{{\"driver\": \"luks\", \"file\": {JsonText.Describe(File)}, \"key-secret\": {JsonText.Quote(_keySecret)}{(_headerFile is { } header ? $", \"header\": {JsonText.Describe(header.Node)}" : "")}}}";

    public override async IoTask<ImageInfo> GetInfoAsync()
    {
        ImageInfo below = await _child.Node.GetInfoAsync();
        return new ImageInfo
        {
            ActualSize = below.ActualSize,
            IsEncrypted = true,
            Specific = EncryptionFacts.Describe(_header, _headerFile is not null, withFormat: false),
        };
    }

    public async IoTask AmendAsync(OptionSet options, bool force, Action<long, long>? progress)
        => _header = await LuksAmend.RunAsync(_volume, _ciphers!.Key, _secrets, options, force);

    public override async IoTask CloseAsync()
    {
        if (_isClosed)
        {
            return;
        }

        _isClosed = true;
        _ciphers?.Close();
        await (_headerFile?.CloseAsync() ?? IoTask.Completed);
        await _child.CloseAsync();
    }

    protected override IoTask ReadCore(long offset, IoVector data) => Sectors.ReadAsync(_file, _payload + offset, offset, data);

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
        => (flags & WriteFlags.Compressed) != 0
            ? IoTask.FromException(ErrnoException.For(Errno.ENOTSUP, $"Node '{Name}' can't hold compressed data"))
            : Sectors.WriteAsync(_file, _payload + offset, offset, data, flags);

    protected override IoTask FlushCore() => _child.Node.FlushAsync();

    // As with QEMU, new bytes are what zeroes decrypt to.
    protected override IoTask ResizeCore(long length, Preallocation preallocation)
        => length > long.MaxValue - _payload
            ? IoTask.FromException(ErrnoException.For(Errno.EFBIG, $"Node '{Name}' can't have {length} bytes"))
            : _child.Node.ResizeAsync(_payload + length, preallocation);

    private EncryptedSectors Sectors => _sectors ?? throw new ErrnoException(Errno.EIO, $"Node '{Name}' was opened for its facts alone and is locked");
}
