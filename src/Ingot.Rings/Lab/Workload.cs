using System.Numerics;
using System.Runtime.CompilerServices;

namespace Ingot.Rings.Lab;

/// <summary>Requests made up in advance, so that nobody measures their making: reads and writes of random pages at random places.</summary>
public sealed class Workload
{
    /// <summary>Bytes of the range that requests name as their data.</summary>
    public const long DataBytes = PageCount * Segment.PageSize;

    private const int RequestCount = 1024;
    private const int PageCount = 4096;
    private readonly RequestHeader[] _headers = new RequestHeader[RequestCount];
    private readonly Segment[] _segments;
    private readonly ulong[] _checksums = new ulong[RequestCount];
    private readonly int _segmentCount;

    /// <summary>Makes requests up.</summary>
    /// <param name="segments">Data segments of each.</param>
    /// <param name="dataOffset">Where the range of their data begins.</param>
    /// <param name="seed">The same seed gives the same requests.</param>
    public Workload(int segments, long dataOffset, int seed)
    {
        var random = new Random(seed);
        _segmentCount = segments;
        _segments = new Segment[RequestCount * segments];
        for (int i = 0; i < RequestCount; i++)
        {
            _headers[i] = new RequestHeader
            {
                Type = (uint)random.Next(2),
                Priority = (uint)random.Next(ushort.MaxValue + 1),
                Sector = (ulong)random.NextInt64(1L << 40),
            };
            for (int j = 0; j < segments; j++)
            {
                _segments[(i * segments) + j] = new Segment((ulong)dataOffset + ((ulong)random.Next(PageCount) * Segment.PageSize), Segment.PageSize);
            }

            _checksums[i] = Checksum(_headers[i], Segments(i));
        }
    }

    /// <summary>A request's header.</summary>
    /// <param name="number">Any number.</param>
    /// <returns>The header.</returns>
    public ref readonly RequestHeader Header(long number) => ref _headers[number & (RequestCount - 1)];

    /// <summary>A request's data.</summary>
    /// <param name="number">Any number.</param>
    /// <returns>The segments.</returns>
    public ReadOnlySpan<Segment> Segments(long number) => _segments.AsSpan((int)(number & (RequestCount - 1)) * _segmentCount, _segmentCount);

    /// <summary>The checksum of a request.</summary>
    /// <param name="number">Any number.</param>
    /// <returns>As <see cref="Checksum(in RequestHeader, ReadOnlySpan{Segment})"/> computes it.</returns>
    public ulong Checksum(long number) => _checksums[number & (RequestCount - 1)];

    /// <summary>A checksum of every field of a request.</summary>
    /// <param name="header">Its header.</param>
    /// <param name="segments">Its data.</param>
    /// <returns>The checksum.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Checksum(in RequestHeader header, ReadOnlySpan<Segment> segments)
    {
        ulong sum = Mix(Mix(header.Type, header.Priority), header.Sector);
        foreach (ref readonly Segment segment in segments)
        {
            sum = Mix(sum, segment.Address + ((ulong)segment.Length << 40));
        }

        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Mix(ulong sum, ulong value) => BitOperations.RotateLeft((sum ^ value) * 0x9e3779b97f4a7c15, 29);
}
