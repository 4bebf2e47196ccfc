using System.Runtime.InteropServices;
using Ingot.Rings.Memory;

namespace Ingot.Rings.Plain;

/// <summary>A request of up to two segments in one cache line.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PlainRequest
{
    public const int InlineSegments = 2;

    public RequestHeader Header;
    public uint Token;
    public uint Count;
    public Segment First; // with more segments than fit: where the list of them is
    public Segment Second;
    private readonly ulong _padding;
}

/// <summary>An answer, eight to a cache line.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PlainAnswer
{
    public ushort Token;
    public byte Status;
    private readonly byte _padding;
    public uint Length;
}

/// <summary>Where the parts of a pair of plain rings are.</summary>
internal readonly unsafe struct PlainAreas
{
    public readonly uint* Tail;
    public readonly uint* Head;
    public readonly uint* KickWish;
    public readonly uint* AnswerTail;
    public readonly uint* CallWish;
    public readonly PlainRequest* Requests;
    public readonly PlainAnswer* Answers;
    public readonly byte* Lists;
    public readonly int ListStride;
    public readonly int AnswerSize;
    public readonly long Length;

    public PlainAreas(SharedWindow window, RingGeometry geometry)
    {
        // Room for all that can be in flight: the ring of answers is never full, and needs no head.
        AnswerSize = (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)geometry.Depth);
        ListStride = (geometry.MaxSegments * sizeof(Segment)) + 63 & ~63;
        var cutter = new SharedWindow.Cutter(window);
        Tail = (uint*)cutter.Take(sizeof(uint));
        Head = (uint*)cutter.Take(sizeof(uint));
        KickWish = (uint*)cutter.Take(sizeof(uint));
        AnswerTail = (uint*)cutter.Take(sizeof(uint));
        CallWish = (uint*)cutter.Take(sizeof(uint));
        Requests = (PlainRequest*)cutter.Take((long)geometry.QueueSize * sizeof(PlainRequest));
        Answers = (PlainAnswer*)cutter.Take((long)AnswerSize * sizeof(PlainAnswer));
        Lists = cutter.Take(geometry.MaxSegments > PlainRequest.InlineSegments ? (long)geometry.Depth * ListStride : 0);
        Length = cutter.Used;
    }
}
