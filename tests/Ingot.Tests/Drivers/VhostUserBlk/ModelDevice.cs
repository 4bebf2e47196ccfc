using Ingot.Io;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Rings;

namespace Ingot.Tests.Drivers.VhostUserBlk;

/// <summary>
/// A virtio-blk device on the same loop as the driver and over the same memory: checks every rule of the ring that a driver must keep, completes in random
/// order, and lies where a test tells it to.
/// </summary>
internal sealed unsafe class ModelDevice : ILoopPoller, IDisposable
{
    private readonly VirtioBlkDriver _driver;
    private readonly bool _eventIndex;
    private readonly Random _random;
    private readonly List<(int Queue, ushort Head)> _pending = [];
    private readonly List<Descriptor> _readable = []; // kept: the allocation test counts what this model allocates too
    private readonly List<Descriptor> _writable = [];
    private readonly ushort[] _lastAvailable;
    private readonly ushort[] _used;

    public ModelDevice(VirtioBlkDriver driver, int size, bool eventIndex, int seed)
    {
        _driver = driver;
        _eventIndex = eventIndex;
        _random = new Random(seed);
        _lastAvailable = new ushort[driver.Queues.Count];
        _used = new ushort[driver.Queues.Count];
        Disk = new byte[size];
        EventLoop.Current.AddPoller(this);
    }

    public byte[] Disk { get; }

    public int Flushes { get; private set; }

    public long Served { get; private set; }

    /// <summary>Requests are taken but not answered.</summary>
    public bool IsHolding { get; set; }

    public byte Status { get; set; }

    public int Pending => _pending.Count;

    public bool Poll()
    {
        for (int q = 0; q < _lastAvailable.Length; q++)
        {
            Fetch(q);
        }

        if (IsHolding || _pending.Count == 0)
        {
            return false;
        }

        for (int i = _random.Next(1, _pending.Count + 1); i > 0; i--)
        {
            int at = _random.Next(_pending.Count);
            (int queue, ushort head) = _pending[at];
            _pending[at] = _pending[^1];
            _pending.RemoveAt(_pending.Count - 1);
            PushUsed(queue, head, Serve(queue, head));
        }

        return true;
    }

    public bool PrepareToSleep() => _pending.Count == 0 || IsHolding;

    public void Awake()
    {
    }

    public void Dispose() => EventLoop.Current.RemovePoller(this);

    public void PushUsed(int queue, uint id, uint length)
    {
        DriverQueue ring = _driver.Queues[queue];
        var used = (byte*)ring.UsedAddress;
        ((UsedElement*)(used + SplitLayout.RingOffset))[_used[queue] & (ring.Size - 1)] = new UsedElement { Id = id, Length = length };
        SetUsedIndex(queue, (ushort)(_used[queue] + 1));
    }

    public void SetUsedIndex(int queue, ushort index)
    {
        _used[queue] = index;
        Volatile.Write(ref *(ushort*)((byte*)_driver.Queues[queue].UsedAddress + SplitLayout.IndexOffset), index);
    }

    private void Fetch(int q)
    {
        DriverQueue ring = _driver.Queues[q];
        var available = (byte*)ring.AvailableAddress;
        ushort index = Volatile.Read(ref *(ushort*)(available + SplitLayout.IndexOffset));
        Check((ushort)(index - _lastAvailable[q]) <= ring.Size, "more requests than the ring has entries");
        while (_lastAvailable[q] != index)
        {
            ushort head = ((ushort*)(available + SplitLayout.RingOffset))[_lastAvailable[q]++ & (ring.Size - 1)];
            Check(!_pending.Contains((q, head)), "a head is in flight twice");
            _pending.Add((q, head));
        }

        if (_eventIndex)
        {
            *(ushort*)((byte*)ring.UsedAddress + SplitLayout.AvailableEventOffset(ring.Size)) = _lastAvailable[q];
        }
    }

    private uint Serve(int queue, ushort head)
    {
        (List<Descriptor> readable, List<Descriptor> writable) = Walk(_driver.Queues[queue], head);
        Check(readable[0].Length == BlkRequestHeader.Size && writable[^1] is { Length: 1 }, "header and status have their size");
        BlkRequestHeader header = *(BlkRequestHeader*)readable[0].Address;
        readable.RemoveAt(0);
        uint written = 0;
        foreach (Descriptor d in writable)
        {
            written += d.Length;
        }

        byte* status = (byte*)writable[^1].Address;
        writable.RemoveAt(writable.Count - 1);
        if (Status == 0)
        {
            Perform(header, readable, writable);
        }

        *status = Status;
        Served++;
        return written;
    }

    private void Perform(in BlkRequestHeader header, List<Descriptor> readable, List<Descriptor> writable)
    {
        int at = (int)header.Sector * VirtioBlkConfig.SectorSize;
        switch (header.Type)
        {
            case BlkRequestType.In:
                foreach (Descriptor d in writable)
                {
                    Disk.AsSpan(at, (int)d.Length).CopyTo(new Span<byte>((void*)d.Address, (int)d.Length));
                    at += (int)d.Length;
                }

                break;
            case BlkRequestType.Out:
                foreach (Descriptor d in readable)
                {
                    new Span<byte>((void*)d.Address, (int)d.Length).CopyTo(Disk.AsSpan(at));
                    at += (int)d.Length;
                }

                break;
            case BlkRequestType.Flush:
                Flushes++;
                break;
            case BlkRequestType.WriteZeroes:
                BlkRange range = *(BlkRange*)readable.Single().Address;
                Disk.AsSpan((int)range.Sector * VirtioBlkConfig.SectorSize, (int)range.SectorCount * VirtioBlkConfig.SectorSize).Clear();
                break;
        }
    }

    private (List<Descriptor> Readable, List<Descriptor> Writable) Walk(DriverQueue ring, ushort head)
    {
        List<Descriptor> readable = _readable;
        List<Descriptor> writable = _writable;
        readable.Clear();
        writable.Clear();
        var table = (Descriptor*)ring.DescriptorAddress;
        int count = ring.Size;
        Check(head < count, "the head is outside of the table");
        Descriptor d = table[head];
        if ((d.Flags & DescriptorFlags.Indirect) != 0)
        {
            Check(d.Flags == DescriptorFlags.Indirect, "an indirect descriptor is alone");
            table = (Descriptor*)d.Address;
            count = (int)d.Length / SplitLayout.DescriptorSize;
            d = table[0];
        }

        while (true)
        {
            bool writes = (d.Flags & DescriptorFlags.Write) != 0;
            Check(writes || writable.Count == 0, "what the device reads comes first");
            (writes ? writable : readable).Add(d);
            Check(readable.Count + writable.Count <= count, "the chain is longer than its table");
            if ((d.Flags & DescriptorFlags.Next) == 0)
            {
                return (readable, writable);
            }

            Check(d.Next < count, "next is outside of the table");
            d = table[d.Next];
        }
    }

    private static void Check(bool condition, string rule)
    {
        if (!condition)
        {
            throw new InvalidOperationException($"The driver broke a rule of the ring: {rule}.");
        }
    }
}
