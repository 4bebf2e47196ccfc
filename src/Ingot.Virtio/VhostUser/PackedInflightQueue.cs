using System.Runtime.InteropServices;
using Ingot.Virtio.Rings;

namespace Ingot.Virtio.VhostUser;

/// <summary>
/// The in-flight notes of one packed queue, in the layout of the vhost-user documentation ("Inflight I/O tracking", packed virtqueue). They hold the descriptors
/// themselves, for answers overwrite those in the ring. The list of free entries is private: it follows from what is in flight.
/// </summary>
public sealed unsafe class PackedInflightQueue
{
    private const ushort CurrentVersion = 1;
    private const byte Free = 0;
    private const byte InFlight = 1;
    private const byte Answered = 2; // in flight, unless the batch that answers it has become visible

    private readonly Head* _head;
    private readonly State* _states;
    private readonly int _size;
    private readonly Stack<ushort> _free = new();
    private readonly ushort[] _batch;
    private readonly ushort[] _chain; // the request that is being taken
    private int _batchCount;
    private int _chainLength;
    private ulong _counter;

    internal PackedInflightQueue(byte* start, int size)
    {
        _head = (Head*)start;
        _states = (State*)(_head + 1);
        _size = size;
        _batch = new ushort[size];
        _chain = new ushort[size];
    }

    internal static int SizeOf(int queueSize) => sizeof(Head) + (sizeof(State) * queueSize);

    /// <summary>Sets a new buffer up, or finds what the last user left undone.</summary>
    /// <param name="ring">The descriptor ring.</param>
    /// <param name="used">Where answers go on; set from the notes when they have been in use.</param>
    /// <param name="next">Where requests go on; set likewise.</param>
    /// <returns>Requests to serve again, oldest first.</returns>
    internal List<int> Recover(ulong* ring, ref PackedPlace used, ref PackedPlace next)
    {
        if (_head->Version != CurrentVersion)
        {
            new Span<byte>(_head, SizeOf(_size)).Clear();
            _head->DescriptorCount = (ushort)_size;
            _head->Used = _head->OldUsed = used.Word;
            Volatile.Write(ref _head->Version, CurrentVersion);
        }

        used = FinishLastBatch(ring);
        List<int> found = FindInFlight(out int entries);

        // What lies between the answers and the next request is what is in flight. The driver must not see what was written of a batch that was rolled back.
        for (int i = 0; i < entries; i++)
        {
            PackedPlace place = used.Plus(i, _size);
            Volatile.Write(ref ring[(place.Offset * 2) + 1], PackedLayout.Pack(0, 0, place.AvailableFlags));
        }

        next = used.Plus(entries, _size);
        return found;
    }

    /// <summary>The descriptors of a request that is to be served again.</summary>
    /// <param name="node">The request.</param>
    /// <returns>Both halves of each.</returns>
    internal List<(ulong Address, ulong Half)> DescriptorsOf(int node)
        => NodesOf(node).ConvertAll(n => (_states[n].Address, PackedLayout.Pack(_states[n].Length, _states[n].Id, _states[n].Flags)));

    /// <summary>Begins a request; what was begun and not taken is forgotten.</summary>
    internal void Begin()
    {
        while (_chainLength > 0)
        {
            _free.Push(_chain[--_chainLength]);
        }
    }

    /// <summary>Notes a descriptor of it. There are as many entries as the ring has.</summary>
    /// <param name="address">The first half.</param>
    /// <param name="half">The second half.</param>
    internal void Add(ulong address, ulong half)
    {
        ushort node = _free.Pop();
        ref State state = ref _states[node];
        state.Address = address;
        state.Length = (uint)half;
        state.Id = PackedLayout.IdOf(half);
        state.Flags = PackedLayout.FlagsOf(half);
        if (_chainLength > 0)
        {
            _states[_chain[_chainLength - 1]].Next = node;
        }

        _chain[_chainLength++] = node;
    }

    /// <summary>Notes that it was taken.</summary>
    /// <returns>What the notes call it.</returns>
    internal int Take()
    {
        ushort node = _chain[0];
        ref State state = ref _states[node];
        state.Count = (ushort)_chainLength;
        state.Counter = _counter++;
        Volatile.Write(ref state.Inflight, InFlight);
        _chainLength = 0;
        return node;
    }

    /// <summary>Notes that its answer will be in the ring when the batch is published.</summary>
    /// <param name="node">The request.</param>
    /// <param name="used">Where answers go on after it.</param>
    internal void Use(int node, PackedPlace used)
    {
        Volatile.Write(ref _states[node].Inflight, Answered);
        Volatile.Write(ref _head->Used, used.Word);
        _batch[_batchCount++] = (ushort)node;
    }

    /// <summary>Notes that the batch has been published.</summary>
    internal void Publish()
    {
        for (int i = 0; i < _batchCount; i++)
        {
            int at = _batch[i];
            Volatile.Write(ref _states[at].Inflight, Free);
            for (int left = _states[at].Count; left > 0; left--)
            {
                _free.Push((ushort)at);
                at = _states[at].Next;
            }
        }

        _batchCount = 0;
        Volatile.Write(ref _head->OldUsed, _head->Used);
    }

    // A batch is visible once its first answer is: the entry is then no longer what the driver had made available on that lap.
    private PackedPlace FinishLastBatch(ulong* ring)
    {
        PackedPlace old = Sane(_head->OldUsed);
        bool isVisible = _head->Used != _head->OldUsed && !old.IsAvailable(PackedLayout.FlagsOf(Volatile.Read(ref ring[(old.Offset * 2) + 1])));
        for (int i = 0; i < _size; i++)
        {
            if (_states[i].Inflight == Answered)
            {
                _states[i].Inflight = isVisible ? Free : InFlight;
            }
        }

        _head->Used = _head->OldUsed = (isVisible ? Sane(_head->Used) : old).Word;
        return PackedPlace.FromWord(_head->Used);
    }

    private List<int> FindInFlight(out int entries)
    {
        var found = new List<(ulong Counter, int Node)>();
        var busy = new HashSet<int>();
        for (int i = 0; i < _size; i++)
        {
            if (_states[i].Inflight == InFlight && NodesOf(i) is { Count: > 0 } nodes)
            {
                found.Add((_states[i].Counter, i));
                busy.UnionWith(nodes);
                _counter = Math.Max(_counter, _states[i].Counter + 1);
            }
        }

        for (int i = _size - 1; i >= 0; i--)
        {
            if (!busy.Contains(i))
            {
                _free.Push((ushort)i);
            }
        }

        entries = busy.Count;
        found.Sort();
        return found.ConvertAll(f => f.Node);
    }

    // The front-end keeps the notes for us, and may have spoiled them.
    private List<int> NodesOf(int node)
    {
        var nodes = new List<int>();
        for (int at = node, left = Math.Min((int)_states[node].Count, _size); left > 0 && at < _size; left--)
        {
            nodes.Add(at);
            at = _states[at].Next;
        }

        return nodes;
    }

    private PackedPlace Sane(ushort word)
    {
        PackedPlace place = PackedPlace.FromWord(word);
        return place.Offset < _size ? place : PackedPlace.Start;
    }

    /// <summary>struct QueueRegionPacked without its array. A place has its wrap counter in the top bit, where the documentation has a byte of its own for it.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 32)]
    internal struct Head
    {
        [FieldOffset(0)] internal ulong Features;
        [FieldOffset(8)] internal ushort Version;
        [FieldOffset(10)] internal ushort DescriptorCount;
        [FieldOffset(16)] internal ushort Used;
        [FieldOffset(18)] internal ushort OldUsed;
    }

    /// <summary>struct DescStatePacked.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 32)]
    internal struct State
    {
        [FieldOffset(0)] internal byte Inflight;
        [FieldOffset(2)] internal ushort Next;
        [FieldOffset(6)] internal ushort Count;
        [FieldOffset(8)] internal ulong Counter;
        [FieldOffset(16)] internal ushort Id;
        [FieldOffset(18)] internal ushort Flags;
        [FieldOffset(20)] internal uint Length;
        [FieldOffset(24)] internal ulong Address;
    }
}
