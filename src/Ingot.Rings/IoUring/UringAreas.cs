using Ingot.Rings.Memory;

namespace Ingot.Rings.IoUring;

/// <summary>Where the parts of a pair of io_uring's rings are: heads, tails and flags on lines of their own, as struct io_rings has them.</summary>
internal readonly unsafe struct UringAreas
{
    /// <summary>In the submission ring's flags: IORING_SQ_NEED_WAKEUP.</summary>
    public const uint NeedWakeup = 1;

    /// <summary>In the submission ring's flags: IORING_SQ_CQ_OVERFLOW.</summary>
    public const uint Overflow = 2;

    /// <summary>In the completion ring's flags: IORING_CQ_EVENTFD_DISABLED.</summary>
    public const uint EventsDisabled = 1;

    public readonly uint* SubmissionHead; // written by the device
    public readonly uint* SubmissionTail; // written by the driver
    public readonly uint* SubmissionFlags; // written by the device
    public readonly uint* CompletionHead; // written by the driver
    public readonly uint* CompletionTail; // written by the device
    public readonly uint* CompletionFlags; // written by the driver
    public readonly uint* Array; // which entry is next; not with IORING_SETUP_NO_SQARRAY
    public readonly byte* Entries;
    public readonly byte* Completions;
    public readonly byte* Vectors; // an iovec array a token
    public readonly int VectorStride;
    public readonly int CompletionSize;
    public readonly long Length;

    public UringAreas(SharedWindow window, RingGeometry geometry, bool array)
    {
        CompletionSize = geometry.QueueSize * 2; // what io_uring_setup makes when not told otherwise
        VectorStride = (geometry.MaxSegments * sizeof(VectorEntry)) + 63 & ~63;
        var cutter = new SharedWindow.Cutter(window);
        SubmissionHead = (uint*)cutter.Take(sizeof(uint));
        SubmissionTail = (uint*)cutter.Take(sizeof(uint));
        SubmissionFlags = (uint*)cutter.Take(sizeof(uint));
        CompletionHead = (uint*)cutter.Take(sizeof(uint));
        CompletionTail = (uint*)cutter.Take(sizeof(uint));
        CompletionFlags = (uint*)cutter.Take(sizeof(uint));
        Array = (uint*)cutter.Take(array ? geometry.QueueSize * sizeof(uint) : 0);
        Entries = cutter.Take((long)geometry.QueueSize * sizeof(SubmissionEntry));
        Completions = cutter.Take((long)CompletionSize * sizeof(CompletionEntry));
        Vectors = cutter.Take(geometry.MaxSegments > 1 ? (long)geometry.Depth * VectorStride : 0);
        Length = cutter.Used;
    }
}
