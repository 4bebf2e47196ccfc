using Ingot.Io;
using Ingot.Virtio.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Virtio.Blk;

/// <summary>
/// The shared memory of a driver, one region: rings, then a line for each slot (header, range, status), then bounce pages for data that lies elsewhere.
/// Knows the regions that callers registered, whose data needs no bounce.
/// </summary>
internal sealed unsafe class VirtioBlkDriverMemory : IDisposable
{
    private const int SlotLine = 64;
    private const int RangeOffset = 16;
    private const int StatusOffset = 32;

    private readonly PageAllocator _pages;
    private readonly long _ringSize;
    private readonly byte* _lines;
    private readonly byte* _bounce;
    private readonly int _slotsPerQueue;
    private readonly List<SharedMemoryRegion> _registered = [];

    internal VirtioBlkDriverMemory(VirtioBlkDriverOptions options)
    {
        long ring = DriverQueue.MemorySize(options.QueueSize, options.MaxDescriptors, options.Features);
        _slotsPerQueue = options.QueueSize;
        _pages = new PageAllocator(options.BouncePages);
        long rings = ring * options.QueueCount;
        long lines = ((long)_slotsPerQueue * options.QueueCount * SlotLine + PageAllocator.PageSize - 1) / PageAllocator.PageSize * PageAllocator.PageSize;
        Region = new SharedMemoryRegion("ingot-virtio-blk", rings + lines + ((long)options.BouncePages * PageAllocator.PageSize));
        _ringSize = ring;
        _lines = Region.Pointer + rings;
        _bounce = _lines + lines;
    }

    internal SharedMemoryRegion Region { get; }

    internal void Register(SharedMemoryRegion region) => _registered.Add(region);

    internal void Unregister(SharedMemoryRegion region) => _registered.Remove(region);

    internal byte* Ring(int queue) => Region.Pointer + (queue * _ringSize);

    internal void* Header(int queue, int slot) => Line(queue, slot);

    internal void* Range(int queue, int slot) => Line(queue, slot) + RangeOffset;

    internal byte* Status(int queue, int slot) => Line(queue, slot) + StatusOffset;

    internal void WriteHeader(int queue, int slot, VirtioBlkOperation operation)
    {
        // SAFETY: queue and slot are the driver's own; a line has room for header, range and status.
        byte* line = Line(queue, slot);
        ((ulong*)line)[0] = operation.HeaderLow;
        ((ulong*)line)[1] = operation.HeaderHigh;
        line[StatusOffset] = byte.MaxValue;
    }

    internal void WriteRange(int queue, int slot, VirtioBlkOperation operation)
        => *(BlkRange*)Range(queue, slot) = new BlkRange { Sector = operation.Sector, SectorCount = operation.RangeSectors, Flags = operation.RangeFlags };

    /// <summary>Gives an operation bounce pages, and fills them for a write.</summary>
    internal bool TryBounce(VirtioBlkOperation operation)
    {
        int pages = (int)((operation.Data.Length + PageAllocator.PageSize - 1) / PageAllocator.PageSize);
        operation.BouncePage = _pages.TryTake(pages);
        if (operation.BouncePage < 0)
        {
            return false;
        }

        operation.BouncePages = pages;
        if (!operation.DeviceWrites)
        {
            operation.Data.CopyTo(new Span<byte>(Bounce(operation), (int)operation.Data.Length));
        }

        return true;
    }

    internal byte* Bounce(VirtioBlkOperation operation) => _bounce + ((long)operation.BouncePage * PageAllocator.PageSize);

    /// <summary>Gives the pages of an operation back; before, takes what the device wrote if it succeeded.</summary>
    internal void EndBounce(VirtioBlkOperation operation, bool succeeded)
    {
        if (operation.BouncePage < 0)
        {
            return;
        }

        if (succeeded && operation.DeviceWrites)
        {
            operation.Data.CopyFrom(new ReadOnlySpan<byte>(Bounce(operation), (int)operation.Data.Length));
        }

        _pages.Return(operation.BouncePage, operation.BouncePages);
        operation.BouncePage = -1;
    }

    /// <summary>Whether the device can reach the data where it lies, in few enough pieces.</summary>
    internal bool IsReachable(IoVector data, int maxSegments, uint maxSegment)
    {
        if (_registered.Count == 0)
        {
            return false;
        }

        long segments = 0;
        foreach (Span<byte> part in data)
        {
            segments += (part.Length + (long)maxSegment - 1) / maxSegment;
            if (segments > maxSegments || !IsRegistered(part))
            {
                return false;
            }
        }

        return true;
    }

    public void Dispose() => Region.Dispose();

    private byte* Line(int queue, int slot) => _lines + (((long)queue * _slotsPerQueue + slot) * SlotLine);

    private bool IsRegistered(Span<byte> part)
    {
        // SAFETY: the memory of a vector is unmanaged, so its address is stable.
        fixed (byte* start = part)
        {
            foreach (SharedMemoryRegion region in _registered)
            {
                if (region.Contains(start, part.Length))
                {
                    return true;
                }
            }
        }

        return false;
    }
}
