using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.Memory;
using Ingot.Virtio.Rings;
using Ingot.Virtio.VhostUser;
using Xunit;

namespace Ingot.Tests.Virtio;

/// <summary>Both sides of one virtqueue in random steps, on two mappings of the same memory, beside lists that say what must come out.</summary>
internal sealed unsafe class DriverQueueModel : IDisposable
{
    private const int Header = 16;
    private const int Piece = 64;
    private readonly Random _random;
    private readonly int _size;
    private readonly ulong _features;
    private readonly SharedMemoryRegion _region;
    private readonly SharedMapping _mapping;
    private readonly GuestMemory _memory;
    private readonly EventFd _kick = new();
    private readonly DriverQueue _driver;
    private readonly long _ringBytes;
    private readonly long _slotBytes;
    private readonly Dictionary<int, Request> _inFlight = [];
    private readonly Dictionary<ulong, int> _slots = []; // of published requests
    private readonly List<DescriptorChain> _held = [];
    private readonly List<int> _unpublished = [];
    private readonly HashSet<int> _pushed = [];
    private readonly HashSet<int> _visible = [];
    private readonly DescriptorChain _chain = new();
    private Virtqueue _device;
    private ulong _number;
    private bool _kickWanted;

    public DriverQueueModel(int size, int maxDescriptors, ulong features, int seed)
    {
        _random = new Random(seed);
        _size = size;
        _features = features;
        _ringBytes = DriverQueue.MemorySize(size, maxDescriptors, features);
        _slotBytes = (maxDescriptors + 2) * Piece;
        _region = new SharedMemoryRegion("ring", _ringBytes + (size * _slotBytes));
        _mapping = SharedMapping.Map(_region.Descriptor, 0, (ulong)_region.Length, "ring");
        _memory = GuestMemory.Create([new GuestRegion(_region.Address, _region.Address, _mapping)]);
        _driver = DriverQueue.Create(_region.Pointer, size, maxDescriptors, features, _kick.Descriptor);
        _device = CreateDevice(_driver.Base);
    }

    public ushort FirstEntryFlags => *(ushort*)(_region.Pointer + (_driver is PackedDriverQueue ? 14 : 12));

    private int MostPieces => _driver.MaxDescriptors - (_driver.IsEmbedded ? 0 : 2);

    public void Run(int steps)
    {
        for (int i = 0; i < steps; i++)
        {
            switch (_random.Next(14))
            {
                case 0 or 1 or 2 or 3:
                    Submit(_random.Next(2), _random.Next(0, MostPieces + 1));
                    break;
                case 4 or 5:
                    PublishRequests();
                    break;
                case 6 or 7:
                    Pop();
                    break;
                case 8 or 9:
                    Push();
                    break;
                case 10:
                    PublishAnswers();
                    break;
                case 11:
                    Collect();
                    break;
                case 12:
                    WishForKicks();
                    break;
                default:
                    Restart();
                    break;
            }
        }

        Finish();
    }

    public void Finish()
    {
        for (int i = 0; i < 1000 && _inFlight.Count > 0; i++)
        {
            PublishRequests();
            Pop();
            Push();
            PublishAnswers();
            Collect();
        }

        Assert.Empty(_inFlight);
        Assert.Null(_device.Defect);
    }

    public void Submit(int type, int pieces)
    {
        if (!_driver.HasFreeSlot || pieces > MostPieces)
        {
            return;
        }

        int slot = _driver.Rent();
        byte* start = _region.Pointer + _ringBytes + (slot * _slotBytes);
        ulong* header = (ulong*)start;
        (header[0], header[1]) = ((ulong)type, _number);
        if (!_driver.IsEmbedded)
        {
            _driver.Add(header, Header, false);
        }

        var lengths = new List<int>();
        for (int i = 1; i <= pieces; i++)
        {
            int length = _random.Next(1, Piece + 1);
            new Span<byte>(start + (i * Piece), Piece).Fill(type == 0 ? (byte)0xee : (byte)_number);
            _driver.Add(start + (i * Piece), (uint)length, type == 0);
            lengths.Add(length);
        }

        if (!_driver.IsEmbedded)
        {
            _driver.Add(start + ((pieces + 1) * Piece), 1, true);
        }

        _driver.Submit(slot, header[0], header[1]);
        _inFlight.Add(slot, new Request(_number++, type == 0, lengths));
        _unpublished.Add(slot);
    }

    public void PublishRequests()
    {
        bool mustKick = _kickWanted && _unpublished.Count > 0;
        _driver.Publish();
        _unpublished.ForEach(slot => _slots.Add(_inFlight[slot].Number, slot));
        _unpublished.Clear();
        if (mustKick)
        {
            Assert.True(IsRung(), "the device asked for a kick and got none");
            _kickWanted = false;
        }
    }

    public void RoundTrip(bool withCalls)
    {
        Submit(0, 1);
        PublishRequests();
        Pop();
        if (withCalls)
        {
            WishForKicks();
        }

        Push();
        PublishAnswers();
        Collect();
    }

    public void RoundTripsWithoutModel(int count)
    {
        for (int i = 0; i < count; i++)
        {
            int slot = _driver.Rent();
            for (int d = 0; d < 3; d++)
            {
                _driver.Add(_region.Pointer + _ringBytes + (d * Piece), Header, d == 2);
            }

            _driver.Submit(slot, 0, 0);
            _driver.Publish();
            Require(_device.TryPop(_chain) == PopResult.Popped);
            _chain.WriteStatus(0);
            _device.PushUsed(_chain, 0);
            _device.Publish();
            _ = _device.ShouldCall();
            Require(_driver.TryTakeUsed(out slot));
            _driver.Return(slot);
        }
    }

    /// <summary>Spoils the ring at random while the device works on it: all that it hands out must be within the memory.</summary>
    public void TormentDevice(int steps)
    {
        using var chain = new DescriptorChain();
        var memory = new Span<byte>(_mapping.Pointer, (int)_ringBytes);
        for (int i = 0; i < steps; i++)
        {
            Submit(_random.Next(2), _random.Next(0, MostPieces + 1));
            _driver.Publish();
            for (int n = _random.Next(4); n > 0; n--)
            {
                int at = _random.Next(_random.Next(2) == 0 ? Math.Min(memory.Length, 64 * _size) : memory.Length);
                memory[at] = _random.Next(2) == 0 ? (byte)_random.Next(256) : (byte)(memory[at] + 1);
            }

            PopResult result = _device.TryPop(chain);
            if (result == PopResult.Broken)
            {
                Assert.NotNull(_device.Defect);
                return;
            }

            if (result == PopResult.Popped)
            {
                CheckWithin(chain.Readable);
                CheckWithin(chain.Writable);
                _device.PushUsed(chain, 0);
                _device.Publish();
                _ = _device.ShouldCall();
            }
        }
    }

    public void Dispose()
    {
        _held.ForEach(chain => chain.Dispose());
        _chain.Dispose();
        _memory.Release();
        _kick.Dispose();
        _region.Dispose();
    }

    private void Pop()
    {
        var chain = new DescriptorChain();
        PopResult result = _device.TryPop(chain);
        if (result == PopResult.Empty)
        {
            chain.Dispose();
            Assert.Equal(_slots.Count, _held.Count + _pushed.Count);
            return;
        }

        Assert.Equal((PopResult.Popped, null), (result, _device.Defect));
        _device.DisableKicks();
        _kickWanted = false;
        Assert.True(chain.CanBeAnswered && chain.TryReadHeader(out _, out _));
        chain.TryReadHeader(out ulong type, out ulong number);
        Request request = _inFlight[_slots[number]];
        Assert.Equal(request.DeviceWrites, type == 0);
        IoVector data = request.DeviceWrites ? chain.WritableData() : chain.ReadableData();
        Assert.Equal(request.Lengths.Sum(), data.Length);
        Assert.Equal(0, (request.DeviceWrites ? chain.ReadableData() : chain.WritableData()).Length);
        if (request.DeviceWrites)
        {
            data.Fill((byte)number);
        }
        else
        {
            byte[] bytes = new byte[data.Length];
            data.CopyTo(bytes);
            Assert.DoesNotContain(bytes, b => b != (byte)number);
        }

        _held.Add(chain);
    }

    private void Push()
    {
        if (_held.Count == 0)
        {
            return;
        }

        DescriptorChain chain = _held[_random.Next(_held.Count)];
        _held.Remove(chain);
        chain.TryReadHeader(out _, out ulong number);
        chain.WriteStatus((byte)(number + 1));
        _device.PushUsed(chain, chain.WritableLength);
        chain.Dispose();
        _pushed.Add(_slots[number]);
    }

    private void PublishAnswers()
    {
        bool callWanted = _driver.EnableCalls() && _visible.Count == 0;
        _device.Publish();
        Assert.True(_device.ShouldCall() || !callWanted || _pushed.Count == 0, "the driver asked for a call and got none");
        foreach (int slot in _pushed)
        {
            _slots.Remove(_inFlight[slot].Number);
        }

        _visible.UnionWith(_pushed);
        _pushed.Clear();
        _driver.DisableCalls();
    }

    private void Collect()
    {
        while (_driver.TryTakeUsed(out int slot))
        {
            Assert.True(_visible.Remove(slot), $"answer to {slot}, which was not published");
            Assert.True(_inFlight.Remove(slot, out Request? request));
            byte* start = _region.Pointer + _ringBytes + (slot * _slotBytes);
            byte status = _driver.IsEmbedded ? _driver.UsedStatus : start[(request.Lengths.Count + 1) * Piece];
            Assert.Equal((byte)(request.Number + 1), status);
            for (int i = 0; i < request.Lengths.Count; i++)
            {
                var piece = new Span<byte>(start + ((i + 1) * Piece), Piece);
                Assert.False(piece[..request.Lengths[i]].ContainsAnyExcept((byte)request.Number));
                Assert.True(!request.DeviceWrites || !piece[request.Lengths[i]..].ContainsAnyExcept((byte)0xee));
            }

            _driver.Return(slot);
        }

        Assert.Empty(_visible);
    }

    private void WishForKicks()
    {
        _ = IsRung();
        _kickWanted = _device.EnableKicks();
        Assert.Equal(_slots.Count == _held.Count + _pushed.Count, _kickWanted);
    }

    // Another device goes on where this one stopped: GET_VRING_BASE, SET_VRING_BASE.
    private void Restart()
    {
        if (_held.Count == 0 && _pushed.Count == 0)
        {
            _device = CreateDevice(_device.Position);
            _device.DisableKicks();
            _kickWanted = false;
        }
    }

    private bool IsRung()
    {
        ulong count = 0;
        return Libc.read(_kick.Descriptor.Value, &count, sizeof(ulong)) == sizeof(ulong);
    }

    private Virtqueue CreateDevice(uint start)
    {
        var address = new VringAddress { Descriptors = _driver.DescriptorAddress, Available = _driver.AvailableAddress, Used = _driver.UsedAddress };
        var setup = new QueueSetup(0, _memory, _size, address, _features, start, null);
        return setup.IsPacked ? new PackedVirtqueue(setup, null) : new SplitVirtqueue(setup, null);
    }

    private void CheckWithin(IoVector data)
    {
        foreach (Span<byte> part in data)
        {
            fixed (byte* start = part)
            {
                Assert.True(start >= _mapping.Pointer && start + part.Length <= _mapping.Pointer + _region.Length);
            }
        }
    }

    private static void Require(bool condition)
    {
        if (!condition)
        {
            throw new InvalidOperationException("A round trip did not come around.");
        }
    }

    private sealed record Request(ulong Number, bool DeviceWrites, List<int> Lengths);
}
