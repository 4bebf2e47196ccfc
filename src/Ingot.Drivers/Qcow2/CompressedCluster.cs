using System.Buffers;
using System.IO.Compression;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Qcow2;

/// <summary>Compression of single clusters. zlib means a raw deflate stream, zstd one or more frames; what follows in the last sector is of no interest.</summary>
internal static class CompressedCluster
{
    // Below this a cluster is unpacked on the loop: handing it to another thread would take longer.
    private const int InlineLength = 8 << 10;

    private const int ZstdLevel = 2;

    // With its long window even this level makes less of a cluster than QEMU's level 6 with a window of 4 KiB.
    private static readonly ZLibCompressionOptions ZlibLevel = new() { CompressionLevel = 2 };

    [ThreadStatic]
    private static ZstdSharp.Decompressor? _decompressor;

    [ThreadStatic]
    private static ZstdSharp.Compressor? _compressor;

    [ThreadStatic]
    private static SystemZstd? _systemCompressor;

    /// <summary>Unpacks a cluster.</summary>
    /// <param name="source">What the file holds, one range, with up to a sector of other bytes behind it.</param>
    /// <param name="destination">One range, filled whole.</param>
    /// <param name="compression">The image's method.</param>
    /// <returns>False when the bytes are no such stream or end early.</returns>
    internal static IoTask<bool> UnpackAsync(IoVector source, IoVector destination, Qcow2Compression compression)
        => destination.Length <= InlineLength
            ? new IoTask<bool>(Unpack(source, destination, compression))
            : Offload.Run(() => Unpack(source, destination, compression));

    /// <summary>Packs a cluster.</summary>
    /// <param name="source">The cluster.</param>
    /// <param name="destination">Room for the result, in one piece; shorter than the cluster.</param>
    /// <param name="compression">The image's method.</param>
    /// <returns>The length of the result, or 0 when it does not fit.</returns>
    internal static int Pack(ReadOnlySpan<byte> source, IoVector destination, Qcow2Compression compression)
    {
        if (compression == Qcow2Compression.Zstd)
        {
            return PackZstd(source, destination.SingleSpan);
        }

        using var target = new LimitedStream(destination);
        using (var deflate = new DeflateStream(target, ZlibLevel, leaveOpen: true))
        {
            deflate.Write(source);
        }

        return target.Overflowed ? 0 : (int)target.Length;
    }

    private static int PackZstd(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        if (SystemZstd.IsAvailable)
        {
            return (_systemCompressor ??= new SystemZstd()).Pack(source, destination, ZstdLevel);
        }

        return (_compressor ??= new ZstdSharp.Compressor(ZstdLevel)).TryWrap(source, destination, out int written) ? written : 0;
    }

    private static bool Unpack(IoVector source, IoVector destination, Qcow2Compression compression)
        => compression == Qcow2Compression.Zstd ? UnpackZstd(source.SingleSpan, destination.SingleSpan) : UnpackZlib(source, destination.SingleSpan);

    private static bool UnpackZlib(IoVector source, Span<byte> destination)
    {
        try
        {
            using var inflate = new DeflateStream(new VectorStream(source), CompressionMode.Decompress);
            return inflate.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false) == destination.Length;
        }
        catch (InvalidDataException)
        {
            return false;
        }
    }

    private static bool UnpackZstd(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        _decompressor ??= new ZstdSharp.Decompressor();
        try
        {
            _decompressor.ResetStream();
            while (destination.Length > 0)
            {
                OperationStatus status = _decompressor.UnwrapStream(source, destination, out int consumed, out int written);
                if (status == OperationStatus.InvalidData || (consumed == 0 && written == 0))
                {
                    return false;
                }

                source = source[consumed..];
                destination = destination[written..];
            }

            return true;
        }
        catch (ZstdSharp.ZstdException)
        {
            return false;
        }
    }

    /// <summary>Reads a vector of one range as a stream.</summary>
    private sealed class VectorStream(IoVector source) : Stream
    {
        private int _position;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => source.Length;

        public override long Position { get => _position; set => throw new NotSupportedException(); }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override int Read(Span<byte> buffer)
        {
            ReadOnlySpan<byte> left = source.SingleSpan[_position..];
            int count = Math.Min(left.Length, buffer.Length);
            left[..count].CopyTo(buffer);
            _position += count;
            return count;
        }

        public override void Flush()
        {
        }

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }

    /// <summary>A stream into memory that swallows what does not fit and says so.</summary>
    private sealed class LimitedStream(IoVector target) : Stream
    {
        private int _length;

        internal bool Overflowed { get; private set; }

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => _length;

        public override long Position { get => _length; set => throw new NotSupportedException(); }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            Overflowed |= buffer.Length > target.Length - _length;
            if (!Overflowed)
            {
                buffer.CopyTo(target.SingleSpan[_length..]);
                _length += buffer.Length;
            }
        }

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
