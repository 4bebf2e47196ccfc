using System.Buffers;

namespace Ingot.Virtio.Memory;

/// <summary>A shared region as managed memory: what a program gets that wants I/O without a copy.</summary>
/// <param name="region">The region.</param>
/// <param name="length">Bytes of it to show.</param>
/// <param name="release">Called once when the program disposes the memory; ends the region.</param>
public sealed unsafe class SharedMemoryOwner(SharedMemoryRegion region, int length, Action<SharedMemoryRegion> release) : MemoryManager<byte>
{
    private int _released;

    /// <inheritdoc/>
    public override Span<byte> GetSpan()
    {
        ObjectDisposedException.ThrowIf(_released != 0, this);
        return new Span<byte>(region.Pointer, length);
    }

    /// <inheritdoc/>
    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ObjectDisposedException.ThrowIf(_released != 0, this);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)length);
        // SAFETY: the region is not moved and the index lies within it.
        return new MemoryHandle(region.Pointer + elementIndex);
    }

    /// <inheritdoc/>
    public override void Unpin()
    {
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (Interlocked.Exchange(ref _released, 1) == 0)
        {
            release(region);
        }
    }
}
