using Ingot.Linux;
using Ingot.Virtio.Memory;
using Ingot.Virtio.VhostUser;

namespace Ingot.Virtio.Rings;

/// <summary>
/// The device side of a packed virtqueue (VIRTIO 1.3, 2.8). Of a batch of answers, the first is written last: it makes all of them visible.
/// Everything that it reads from the ring is hostile: read once, then checked.
/// </summary>
public sealed unsafe class PackedVirtqueue : Virtqueue
{
    private readonly int _index;
    private readonly GuestMemory _memory;
    private readonly DirtyLog? _log;
    private readonly PackedInflightQueue? _inflight;
    private readonly Queue<int> _resubmit;
    private readonly ulong* _ring;
    private readonly uint* _driverEvent;
    private readonly uint* _deviceEvent;
    private readonly int _size;
    private readonly bool _eventIndex;
    private readonly bool _indirect;
    private readonly bool _embedded;
    private readonly int _entryShift; // words of a descriptor, as a power of two
    private GuestBuffers _buffers;
    private PackedPlace _next;
    private PackedPlace _used;
    private PackedPlace _published; // answers from here on wait for Publish
    private PackedPlace _called; // answers from here on wait for ShouldCall
    private int _entriesTaken; // which the driver may not reuse before an answer to them is published
    private int _entriesAnswered; // of these
    private ulong _first;
    private bool _hasFirst;
    private uint _kickWish = uint.MaxValue;

    /// <summary>Sets a queue up where its last user left off.</summary>
    /// <param name="setup">What the front-end said; its in-flight notes are those of a packed ring.</param>
    /// <param name="inflight">In-flight notes, or null.</param>
    /// <exception cref="ErrnoException">What it said is nonsense.</exception>
    public PackedVirtqueue(QueueSetup setup, PackedInflightQueue? inflight)
    {
        _index = setup.Index;
        _memory = setup.Memory;
        _buffers = new GuestBuffers(setup.Memory);
        _size = setup.Size;
        _ring = (ulong*)setup.Locate(setup.Address.Descriptors, setup.Size * setup.DescriptorSize, setup.DescriptorSize, "descriptor ring");
        _driverEvent = (uint*)setup.Locate(setup.Address.Available, PackedLayout.EventSize, PackedLayout.EventSize, "driver event suppression");
        _deviceEvent = (uint*)setup.Locate(setup.Address.Used, PackedLayout.EventSize, PackedLayout.EventSize, "device event suppression");
        _eventIndex = (setup.Features & VirtioFeatures.EventIndex) != 0;
        _indirect = (setup.Features & VirtioFeatures.IndirectDescriptors) != 0;
        _embedded = setup.IsEmbedded;
        _entryShift = _embedded ? 2 : 1;
        _log = setup.WriteLog;
        _inflight = inflight;
        _next = PlaceOf(setup, (ushort)setup.Base);
        _used = PlaceOf(setup, (ushort)(setup.Base >> 16));
        _resubmit = new Queue<int>(inflight?.Recover(_ring, ref _used, ref _next) ?? []);
        _published = _called = _used;
    }

    /// <inheritdoc/>
    public override GuestMemory Memory => _memory;

    /// <inheritdoc/>
    public override int Size => _size;

    /// <inheritdoc/>
    public override uint Position => _next.Word | ((uint)_used.Word << 16);

    /// <inheritdoc/>
    public override PopResult TryPop(DescriptorChain chain)
    {
        if (_resubmit.TryDequeue(out int node))
        {
            return FetchAgain(node, chain);
        }

        ulong half = Volatile.Read(ref Entry(_next)[1]);
        if (!_next.IsAvailable(PackedLayout.FlagsOf(half)))
        {
            return _buffers.FindLoss() is { } loss ? Break(loss) : PopResult.Empty;
        }

        chain.Begin(0);
        _inflight?.Begin();
        if (_embedded)
        {
            // SAFETY: a place is within the ring.
            ulong* header = Entry(_next) + 2;
            chain.Embed(Volatile.Read(ref header[0]), Volatile.Read(ref header[1]));
        }

        PackedPlace place = _next;
        for (int entries = 1; entries <= _size - _entriesTaken; entries++)
        {
            ulong address = Volatile.Read(ref Entry(place)[0]);
            _inflight?.Add(address, half);
            place = place.Plus(1, _size);
            if (!TryAdd(chain, address, half, entries == 1))
            {
                return PopResult.Broken;
            }

            if (((DescriptorFlags)PackedLayout.FlagsOf(half) & DescriptorFlags.Next) == 0)
            {
                return Take(chain, PackedLayout.IdOf(half), entries, place);
            }

            half = Volatile.Read(ref Entry(place)[1]);
        }

        return Break("a chain has more descriptors than the ring has free");
    }

    /// <inheritdoc/>
    public override void PushUsed(DescriptorChain chain, long length)
    {
        if (_embedded)
        {
            ((byte*)Entry(_used))[EmbeddedLayout.PackedStatusOffset] = chain.EmbeddedStatus;
        }

        ulong half = PackedLayout.Pack((uint)length, chain.Head, (ushort)(_used.UsedFlags | (length > 0 ? (ushort)DescriptorFlags.Write : 0)));
        if (_hasFirst)
        {
            Volatile.Write(ref Entry(_used)[1], half);
        }
        else
        {
            _first = half;
            _hasFirst = true;
        }

        _log?.Mark(_memory.GuestAddressOf((byte*)Entry(_used)), 1UL << (_entryShift + 3));
        _used = _used.Plus(chain.Entries, _size);
        _entriesAnswered += chain.Entries;
        _inflight?.Use(chain.Node, _used);
        if (_log is not null && chain.WritableLength > 0)
        {
            _log.Mark(_memory, chain.Writable);
        }
    }

    /// <inheritdoc/>
    public override void Publish()
    {
        if (!_hasFirst)
        {
            return;
        }

        Volatile.Write(ref Entry(_published)[1], _first);
        _hasFirst = false;
        _entriesTaken -= _entriesAnswered;
        _entriesAnswered = 0;
        _published = _used;
        _inflight?.Publish();
    }

    /// <inheritdoc/>
    public override bool ShouldCall()
    {
        PackedPlace before = _called;
        if (before == _published)
        {
            return false;
        }

        // The answers must be visible before the driver's wish is read: the driver writes its wish, then looks for answers.
        Interlocked.MemoryBarrier();
        _called = _published;
        return _published.NeedsEvent(Volatile.Read(ref *_driverEvent), before, _size);
    }

    /// <inheritdoc/>
    public override bool EnableKicks()
    {
        if (_resubmit.Count > 0)
        {
            return false;
        }

        WishForKicks(_eventIndex ? _next.Word | (PackedLayout.EventAtDescriptor << 16) : PackedLayout.EventEnable << 16);

        // The wish must be visible before the ring is looked at: the driver writes the descriptor, then reads the wish.
        Interlocked.MemoryBarrier();
        return !_next.IsAvailable(PackedLayout.FlagsOf(Volatile.Read(ref Entry(_next)[1])));
    }

    /// <inheritdoc/>
    public override void DisableKicks() => WishForKicks(PackedLayout.EventDisable << 16);

    private ulong* Entry(PackedPlace place) => _ring + ((long)place.Offset << _entryShift);

    private void WishForKicks(int wish)
    {
        if (_kickWish != (uint)wish)
        {
            _kickWish = (uint)wish;
            Volatile.Write(ref *_deviceEvent, (uint)wish);
        }
    }

    private bool TryAdd(DescriptorChain chain, ulong address, ulong half, bool isFirst)
    {
        var flags = (DescriptorFlags)PackedLayout.FlagsOf(half);
        if ((flags & DescriptorFlags.Indirect) == 0)
        {
            return TryAddBuffer(chain, address, (uint)half, flags);
        }

        ulong* table = _buffers.FindTable(address, (uint)half, out uint count);
        if (!_indirect || !isFirst || (flags & DescriptorFlags.Next) != 0 || table == null)
        {
            Break($"the indirect table of {(uint)half} bytes at guest address 0x{address:x} is misplaced");
            return false;
        }

        for (uint i = 0; i < count; i++)
        {
            ulong rest = Volatile.Read(ref table[(i * 2) + 1]);
            if (!TryAddBuffer(chain, Volatile.Read(ref table[i * 2]), (uint)rest, (DescriptorFlags)PackedLayout.FlagsOf(rest)))
            {
                return false;
            }
        }

        return true;
    }

    private bool TryAddBuffer(DescriptorChain chain, ulong address, uint length, DescriptorFlags flags)
    {
        bool writable = (flags & DescriptorFlags.Write) != 0;
        if ((!writable && chain.HasWritable) || (flags & DescriptorFlags.Indirect) != 0)
        {
            Break("a chain has a readable descriptor after a writable one, or an indirect one within a table");
            return false;
        }

        if (!_buffers.TryAdd(chain, address, length, writable))
        {
            Break($"the buffer of {length} bytes at guest address 0x{address:x} is not in memory, or its chain has more than {DescriptorChain.MaxSegments} buffers");
            return false;
        }

        return true;
    }

    private PopResult Take(DescriptorChain chain, ushort id, int entries, PackedPlace next)
    {
        if (chain.ReadableLength + chain.WritableLength > uint.MaxValue)
        {
            return Break($"buffer {id} has more than 4 GiB");
        }

        chain.Name(id, entries, _inflight?.Take() ?? 0);
        _next = next;
        _entriesTaken += entries;
        return PopResult.Popped;
    }

    // The ring may have lost the descriptors of a request in flight: another one's answer can lie where they were.
    private PopResult FetchAgain(int node, DescriptorChain chain)
    {
        chain.Begin(0);
        ushort id = 0;
        int entries = 0;
        foreach ((ulong address, ulong half) in _inflight!.DescriptorsOf(node))
        {
            if (!TryAdd(chain, address, half, entries == 0))
            {
                return PopResult.Broken;
            }

            entries++;
            id = PackedLayout.IdOf(half);
        }

        chain.Name(id, entries, node);
        _entriesTaken += entries;
        return PopResult.Popped;
    }

    private PopResult Break(string defect)
    {
        Defect ??= $"Queue {_index}: {_buffers.FindLoss() ?? defect}";
        return PopResult.Broken;
    }

    private static PackedPlace PlaceOf(QueueSetup setup, ushort word)
    {
        PackedPlace place = PackedPlace.FromWord(word);
        return place.Offset < setup.Size
            ? place
            : throw new ErrnoException(Errno.EPROTO, $"SET_VRING_BASE: entry {place.Offset} of queue {setup.Index} is beyond its {setup.Size} entries");
    }
}
