using System.Runtime.CompilerServices;
using Ingot.Linux;
using Ingot.Virtio.Memory;

namespace Ingot.Virtio.Rings;

/// <summary>How a queue finds the buffers and tables that its descriptors name, and notices when the guest's memory is gone.</summary>
internal unsafe struct GuestBuffers(GuestMemory memory)
{
    private int _hint;
    private long _lossesSeen = SharedMemoryGuard.Losses;

    /// <summary>Adds a buffer to a chain. False when it is not in memory, or the chain is too long.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryAdd(DescriptorChain chain, ulong address, uint length, bool writable)
    {
        byte* start = memory.Find(address, ref _hint, out ulong available);
        return (ulong)length - 1 < available ? chain.TryAdd(start, length, writable) : TryAddPieces(chain, address, length, writable);
    }

    /// <summary>The start of an indirect table; null when it is misplaced.</summary>
    public ulong* FindTable(ulong address, uint length, out uint tableSize)
    {
        tableSize = length / SplitLayout.DescriptorSize;
        if (length == 0 || length % SplitLayout.DescriptorSize != 0)
        {
            return null;
        }

        byte* start = memory.Find(address, ref _hint, out ulong available);
        return length <= available ? (ulong*)start : null;
    }

    /// <summary>Looks for memory of this guest that went away since the last time; only if there is some, the ring is no ring any more.</summary>
    public string? FindLoss()
    {
        long losses = SharedMemoryGuard.Losses;
        if (losses == _lossesSeen)
        {
            return null;
        }

        _lossesSeen = losses;
        GuestRegion? lost = memory.Regions.FirstOrDefault(r => r.Mapping.IsLost);
        return lost is null ? null : $"the front-end has shrunk the file of the memory region at guest address 0x{lost.GuestAddress:x}";
    }

    // A buffer may go on in the next region, and may be empty.
    private bool TryAddPieces(DescriptorChain chain, ulong address, ulong length, bool writable)
    {
        while (length > 0)
        {
            byte* start = memory.Find(address, ref _hint, out ulong available);
            ulong piece = Math.Min(available, length);
            if (piece == 0 || !chain.TryAdd(start, piece, writable))
            {
                return false;
            }

            address += piece;
            length -= piece;
        }

        return true;
    }
}
