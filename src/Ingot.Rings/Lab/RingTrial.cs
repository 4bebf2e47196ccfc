using System.Runtime.InteropServices;
using Ingot.Rings.Memory;

namespace Ingot.Rings.Lab;

/// <summary>Both sides of a small ring, moved by hand: for statements about what fits and when.</summary>
internal sealed unsafe class RingTrial : IDisposable
{
    private readonly void* _memory;
    private readonly DriverRing _driver;
    private readonly DeviceRing _device;
    private readonly DeviceRequest _request = new(1);
    private readonly Queue<ushort> _taken = new();
    private readonly Stack<ushort> _tokens;

    /// <summary>Sets both sides up.</summary>
    /// <param name="design">The design.</param>
    /// <param name="size">Entries of the ring.</param>
    /// <param name="tokens">More requests than are ever in flight.</param>
    public RingTrial(string design, int size, int tokens)
    {
        RingDesign ring = RingDesigns.Find(design)!;
        var geometry = new RingGeometry(size, tokens, 1);
        long bytes = ring.MemorySize(geometry) + Segment.PageSize;
        _memory = NativeMemory.AlignedAlloc((nuint)bytes, Segment.PageSize);
        var window = new SharedWindow((byte*)_memory, bytes);
        window.Span.Clear();
        _driver = ring.CreateDriver(window, geometry);
        _device = ring.CreateDevice(window, geometry);
        _tokens = new Stack<ushort>(Enumerable.Range(0, tokens).Select(i => (ushort)i));
    }

    public void Dispose() => NativeMemory.AlignedFree(_memory);

    public bool TrySubmit()
    {
        if (!_driver.TrySubmit(_tokens.Peek(), default, [new Segment(0, Segment.PageSize)]))
        {
            return false;
        }

        _tokens.Pop();
        _driver.Publish();
        return true;
    }

    /// <summary>Submits until the ring is full, or tokens are running out.</summary>
    public int Fill()
    {
        int count = 0;
        while (_tokens.Count > 1 && TrySubmit())
        {
            count++;
        }

        return count;
    }

    /// <summary>The same while the device reads each request at once, and answers none.</summary>
    public int FillWhileDeviceTakes()
    {
        int count = 0;
        while (_tokens.Count > 1 && TrySubmit())
        {
            count++;
            Take(1);
        }

        return count;
    }

    public void Take(int count)
    {
        for (int i = 0; i < count && _device.TryTake(_request); i++)
        {
            _taken.Enqueue(_request.Tag);
        }

        _device.Publish();
    }

    public void Answer(int most)
    {
        for (int i = 0; i < most && _taken.TryDequeue(out ushort tag); i++)
        {
            _device.Complete(tag, 0, 0);
        }

        _device.Publish();
    }

    public void Collect()
    {
        while (_driver.TryTakeCompletion(out Completion completion))
        {
            _tokens.Push(completion.Token);
        }

        _driver.Acknowledge();
    }
}
