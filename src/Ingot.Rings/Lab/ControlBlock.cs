using System.Runtime.InteropServices;
using Ingot.Rings.Memory;

namespace Ingot.Rings.Lab;

/// <summary>Where a run is.</summary>
internal enum LabPhase
{
    /// <summary>The device is not ready.</summary>
    Starting,

    /// <summary>The caches get warm.</summary>
    WarmUp,

    /// <summary>The clocks run.</summary>
    Measuring,

    /// <summary>All requests are answered.</summary>
    Done,
}

/// <summary>What both sides of a run tell each other beside the rings: the first page of the shared memory.</summary>
/// <param name="memory">The page.</param>
internal readonly struct ControlBlock(SharedWindow memory)
{
    public const int Size = Segment.PageSize;

    // A line for each writer.
    private const int DriverLine = 0;
    private const int DeviceLine = 128;

    /// <summary>Set by the driver; the device reads it each turn, from its own cache mostly.</summary>
    public LabPhase Phase
    {
        get => (LabPhase)Volatile.Read(ref Word(DriverLine));
        set => Volatile.Write(ref Word(DriverLine), (long)value);
    }

    /// <summary>The last phase that the device has seen; set after what goes with it.</summary>
    public LabPhase Seen
    {
        get => (LabPhase)Volatile.Read(ref Word(DeviceLine));
        set => Volatile.Write(ref Word(DeviceLine), (long)value);
    }

    /// <summary>Nanoseconds of CPU that the device used while measuring.</summary>
    public ref long DeviceCpu => ref Word(DeviceLine + 8);

    /// <summary>Requests that the device took.</summary>
    public ref long Taken => ref Word(DeviceLine + 16);

    /// <summary>The sum of their checksums.</summary>
    public ref long Checksum => ref Word(DeviceLine + 24);

    /// <summary>Not zero when the device gave up.</summary>
    public ref long Failed => ref Word(DeviceLine + 32);

    private ref long Word(int offset) => ref MemoryMarshal.AsRef<long>(memory.Span.Slice(offset, sizeof(long)));
}
