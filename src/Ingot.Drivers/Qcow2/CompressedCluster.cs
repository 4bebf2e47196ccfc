using System.Buffers;
using System.IO.Compression;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>Compression of single clusters. zlib means a raw deflate stream, zstd one or more frames; what follows in the last sector is of no interest.</summary>
internal static class CompressedCluster
{
    // Below this a cluster is unpacked on the loop: handing it to another thread would take longer.
    private const int InlineLength = 8 << 10;

    /// <summary>Unpacks a cluster.</summary>
    /// <param name="source">What the file holds, with up to a sector of other bytes behind it.</param>
    /// <param name="destination">Filled whole.</param>
    /// <param name="compression">The image's method.</param>
    /// <returns>False when the bytes are no such stream or end early.</returns>
    internal static async IoTask<bool> UnpackAsync(ReadOnlyMemory<byte> source, Memory<byte> destination, Qcow2Compression compression)
        => destination.Length <= InlineLength
            ? Unpack(source, destination.Span, compression)
            : await Offload.Run(() => Unpack(source, destination.Span, compression));

    /// <summary>Packs a cluster.</summary>
    /// <param name="source">The cluster.</param>
    /// <param name="destination">Room for the result; shorter than the cluster.</param>
    /// <param name="compression">The image's method.</param>
    /// <returns>The length of the result, or 0 when it does not fit.</returns>
    internal static int Pack(ReadOnlyMemory<byte> source, Memory<byte> destination, Qcow2Compression compression)
    {
        if (compression == Qcow2Compression.Zstd)
        {
            using var compressor = new ZstdSharp.Compressor();
            return compressor.TryWrap(source.Span, destination.Span, out int written) ? written : 0;
        }

        using var target = new LimitedStream(destination);
        using (var deflate = new DeflateStream(target, CompressionLevel.Optimal, leaveOpen: true))
        {
            deflate.Write(source.Span);
        }

        return target.Overflowed ? 0 : (int)target.Length;
    }

    private static bool Unpack(ReadOnlyMemory<byte> source, Span<byte> destination, Qcow2Compression compression)
    {
        byte[] copy = ArrayPool<byte>.Shared.Rent(source.Length);
        try
        {
            source.CopyTo(copy);
            using var packed = new MemoryStream(copy, 0, source.Length, writable: false);
            using Stream unpacked = compression == Qcow2Compression.Zstd
                ? new ZstdSharp.DecompressionStream(packed)
                : new DeflateStream(packed, CompressionMode.Decompress);
            return unpacked.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false) == destination.Length;
        }
        catch (Exception e) when (e is InvalidDataException or ZstdSharp.ZstdException or EndOfStreamException)
        {
            return false;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(copy);
        }
    }

    /// <summary>A stream into an array that swallows what does not fit and says so.</summary>
    private sealed class LimitedStream(Memory<byte> target) : Stream
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
                buffer.CopyTo(target.Span[_length..]);
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
