using System.Runtime.InteropServices;
using Ingot.Io;
using Ingot.Testing;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Rings;

namespace Ingot.Tests.Exports;

/// <summary>Block requests on a <see cref="GuestDriver"/>: header, data and status wherever a test wants them.</summary>
internal sealed class BlkDriver(GuestDriver guest, int queueIndex = 0)
{
    public const int DataStart = 1 << 20;
    private const int SlotSize = 128 << 10;

    public GuestQueue Queue => guest.Queues[queueIndex];

    /// <summary>The memory of a chain: header at 0, status at 16, data from 4096 on.</summary>
    public Span<byte> Slot(int slot) => guest.Memory.Slice(DataStart + (slot * SlotSize), SlotSize);

    public Span<byte> Data(int slot, int length) => Slot(slot).Slice(4096, length);

    public byte Status(int slot) => Slot(slot)[16];

    public static ulong Address(int slot, int offset) => GuestDriver.GuestBase + (ulong)(DataStart + (slot * SlotSize) + offset);

    /// <summary>Writes a plain chain of three descriptors from 3 * slot on, and makes it available without publishing.</summary>
    public void Add(int slot, BlkRequestType type, ulong sector, int length)
    {
        WriteHeader(slot, type, sector);
        int first = 3 * slot;
        bool reads = type is BlkRequestType.In or BlkRequestType.GetId;
        Set(first, Address(slot, 0), 16, DescriptorFlags.Next, first + 1);
        Set(first + 1, Address(slot, 4096), (uint)length, DescriptorFlags.Next | (reads ? DescriptorFlags.Write : 0), first + 2);
        Set(first + 2, Address(slot, 16), 1, DescriptorFlags.Write, 0);
        if (length == 0)
        {
            Set(first, Address(slot, 0), 16, DescriptorFlags.Next, first + 2);
        }

        Queue.MakeAvailable((ushort)first);
    }

    public void WriteHeader(int slot, BlkRequestType type, ulong sector)
    {
        Slot(slot)[16] = 0xff;
        MemoryMarshal.Write(Slot(slot), new BlkRequestHeader { Type = type, Sector = sector });
    }

    public void Set(int index, ulong address, uint length, DescriptorFlags flags, int next)
        => Queue.Descriptors[index] = new Descriptor { Address = address, Length = length, Flags = flags, Next = (ushort)next };

    public void Kick()
    {
        Queue.Publish();
        Queue.Kick.Signal();
    }

    /// <summary>One request from start to end.</summary>
    public async IoTask<BlkStatus> DoAsync(BlkRequestType type, ulong sector, int length, int slot = 0)
    {
        Add(slot, type, sector, length);
        Kick();
        await guest.WaitUsedAsync(queueIndex);
        Queue.TryTakeUsed(out UsedElement used);
        return used.Id == 3 * slot ? (BlkStatus)Status(slot) : throw new InvalidOperationException($"Chain {used.Id} was used.");
    }
}
