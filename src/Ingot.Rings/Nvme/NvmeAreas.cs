using System.Numerics;
using Ingot.Rings.Memory;

namespace Ingot.Rings.Nvme;

/// <summary>
/// Where the parts of a pair of NVMe queues are. Doorbells are words in shared memory with event indexes beside them, as the Doorbell Buffer Config
/// command sets them up for emulated controllers (base specification 2.0, 5.8 and annex B.5).
/// </summary>
internal readonly unsafe struct NvmeAreas
{
    public const int SglBytes = 16;
    public const int BlockSize = 512;

    public readonly byte* Submissions;
    public readonly byte* Completions;
    public readonly uint* TailDoorbell; // of the submission queue, written by the driver
    public readonly uint* TailEvent; // up to where the device has seen it, written by the device
    public readonly uint* HeadDoorbell; // of the completion queue, written by the driver
    public readonly uint* HeadEvent; // written by the device
    public readonly uint* InterruptMask; // written by the driver
    public readonly byte* Lists; // what a data pointer leads to, a page a command
    public readonly int CompletionSize;
    public readonly long Length;

    public NvmeAreas(SharedWindow window, RingGeometry geometry)
    {
        // A completion queue is never quite full, so that one for all requests has one entry more.
        CompletionSize = Math.Max(geometry.QueueSize, (int)BitOperations.RoundUpToPowerOf2((uint)geometry.Depth + 1));
        var cutter = new SharedWindow.Cutter(window);
        Submissions = cutter.Take((long)geometry.QueueSize * sizeof(NvmeCommand));
        Completions = cutter.Take((long)CompletionSize * sizeof(NvmeCompletion));
        TailDoorbell = (uint*)cutter.Take(sizeof(uint));
        TailEvent = (uint*)cutter.Take(sizeof(uint));
        HeadDoorbell = (uint*)cutter.Take(sizeof(uint));
        HeadEvent = (uint*)cutter.Take(sizeof(uint));
        InterruptMask = (uint*)cutter.Take(sizeof(uint));
        Lists = cutter.Take(geometry.MaxSegments > 1 ? (long)geometry.Depth * Segment.PageSize : 0, Segment.PageSize);
        Length = cutter.Used;
    }
}
