using System.Runtime.InteropServices;
using Ingot.Linux;
using Ingot.Virtio.Memory;
using Ingot.Virtio.Rings;
using Ingot.Virtio.VhostUser;

namespace Ingot.Testing;

/// <summary>One queue of a <see cref="GuestDriver"/>: its rings in guest memory, and its doorbells.</summary>
public sealed unsafe class GuestQueue : IDisposable
{
    private const int AvailableOffset = 32 << 10;
    private const int UsedOffset = 40 << 10;
    private readonly byte* _start;
    private readonly int _offset;

    internal GuestQueue(SharedMapping memory, int offset, int size)
    {
        _start = memory.Pointer + offset;
        _offset = offset;
        Size = size;
        Seen = UsedIndex;
        AvailableIndex = *(ushort*)(_start + AvailableOffset + SplitLayout.IndexOffset);
    }

    /// <summary>Used entries that were taken.</summary>
    public ushort Seen { get; private set; }

    /// <summary>Entries.</summary>
    public int Size { get; }

    /// <summary>Rung by the driver.</summary>
    public EventFd Kick { get; } = new();

    /// <summary>Rung by the device.</summary>
    public EventFd Call { get; } = new();

    /// <summary>Rung by the device when the ring is broken.</summary>
    public EventFd Error { get; } = new();

    /// <summary>Entries that <see cref="MakeAvailable"/> has written; visible to the device after <see cref="Publish"/>.</summary>
    public ushort AvailableIndex { get; private set; }

    /// <summary>The index that the device has published.</summary>
    public ushort UsedIndex => Volatile.Read(ref *(ushort*)(_start + UsedOffset + SplitLayout.IndexOffset));

    /// <summary>Used entries that were not taken yet.</summary>
    public int Pending => (ushort)(UsedIndex - Seen);

    /// <summary>The device's flags: <see cref="SplitLayout.UsedNoNotify"/>.</summary>
    public ushort UsedFlags => Volatile.Read(ref *(ushort*)(_start + UsedOffset));

    /// <summary>The device's wish for a kick, with the event index.</summary>
    public ushort AvailableEvent => Volatile.Read(ref *(ushort*)(_start + UsedOffset + SplitLayout.AvailableEventOffset(Size)));

    /// <summary>The descriptor table.</summary>
    public Span<Descriptor> Descriptors => new(_start, Size);

    /// <summary>The payload of SET_VRING_ADDR.</summary>
    /// <param name="index">The queue.</param>
    /// <returns>The addresses.</returns>
    public VringAddress AddressOf(int index)
    {
        ulong user = GuestDriver.UserBase + (ulong)_offset;
        return new VringAddress { Index = (uint)index, Descriptors = user, Available = user + AvailableOffset, Used = user + UsedOffset };
    }

    /// <summary>Writes an entry of the available ring.</summary>
    /// <param name="head">The first descriptor of a chain, or nonsense.</param>
    public void MakeAvailable(ushort head)
        => *(ushort*)(_start + AvailableOffset + SplitLayout.RingOffset + (2 * (AvailableIndex++ % Size))) = head;

    /// <summary>Sets the available index.</summary>
    /// <param name="index">The index; null for what was made available.</param>
    public void Publish(ushort? index = null)
        => Volatile.Write(ref *(ushort*)(_start + AvailableOffset + SplitLayout.IndexOffset), index ?? AvailableIndex);

    /// <summary>Sets the wish for calls, as event index or flag.</summary>
    /// <param name="eventIndex">used_event.</param>
    /// <param name="flags">Available flags.</param>
    public void WishForCalls(ushort eventIndex, ushort flags = 0)
    {
        Volatile.Write(ref *(ushort*)(_start + AvailableOffset + SplitLayout.UsedEventOffset(Size)), eventIndex);
        Volatile.Write(ref *(ushort*)(_start + AvailableOffset), flags);
        Interlocked.MemoryBarrier();
    }

    /// <summary>Takes the next used entry.</summary>
    /// <param name="element">The entry.</param>
    /// <returns>False when there is none.</returns>
    public bool TryTakeUsed(out UsedElement element)
    {
        element = default;
        if (Pending == 0)
        {
            return false;
        }

        element = MemoryMarshal.Read<UsedElement>(new ReadOnlySpan<byte>(_start + UsedOffset + SplitLayout.RingOffset + (8 * (Seen % Size)), 8));
        Seen++;
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Kick.Dispose();
        Call.Dispose();
        Error.Dispose();
    }
}
