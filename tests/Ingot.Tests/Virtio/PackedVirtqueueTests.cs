using CsCheck;
using Ingot.Linux;
using Ingot.Rings;
using Ingot.Rings.Memory;
using Ingot.Rings.Virtio;
using Ingot.Virtio;
using Ingot.Virtio.Memory;
using Ingot.Virtio.Rings;
using Ingot.Virtio.VhostUser;
using Xunit;

namespace Ingot.Tests.Virtio;

/// <summary>Our devices of virtqueues, packed ones above all, against the ring lab's drivers, which are separate implementations.</summary>
public sealed class PackedVirtqueueTests
{
    [Theory]
    [InlineData("packed")]
    [InlineData("packed-indirect")]
    [InlineData("embedded-packed")]
    [InlineData("embedded-packed-chained")]
    [InlineData("split")]
    [InlineData("split-indirect")]
    [InlineData("embedded")]
    [InlineData("embedded-chained")]
    public void Requests_and_answers_arrive_once_whatever_the_order(string design)
        => Gen.Select(Gen.Int[2, 5], Gen.Int[1, 12], Gen.Int).Sample(
            (log, depth, seed) =>
            {
                using var model = new Model(1 << log, depth, design, seed);
                model.Run(400, mayDie: false);
            },
            iter: 80);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_successor_serves_what_was_in_flight_and_nothing_else(bool indirect)
        => Gen.Select(Gen.Int[2, 5], Gen.Int[1, 12], Gen.Int).Sample(
            (log, depth, seed) =>
            {
                using var model = new Model(1 << log, depth, indirect ? "packed-indirect" : "packed", seed);
                model.Run(400, mayDie: true);
            },
            iter: 80);

    [Fact]
    public void A_batch_is_invisible_until_it_is_published_and_a_death_before_rolls_it_back()
    {
        using var model = new Model(8, 8, "packed-indirect", seed: 1);
        model.Submit();
        model.Submit();
        model.PublishRequests();
        model.Pop();
        model.Pop();
        model.Push();
        model.Push();
        model.Die();
        Assert.Equal(2, model.Pop() + model.Pop());
        model.Push();
        model.Push();
        model.PublishAnswers();
        Assert.Equal(2, model.Collect());
    }

    [Fact]
    public void A_place_goes_around_with_its_wrap_counter()
    {
        PackedPlace place = PackedPlace.Start.Plus(3, 4);
        Assert.Equal(0x8003, place.Word);
        Assert.Equal(0x0001, place.Plus(2, 4).Word);
        Assert.Equal(place, PackedPlace.FromWord(place.Plus(4, 4).Plus(4, 4).Word));
        Assert.True(place.Plus(2, 4).NeedsEvent((uint)(place.Word | (PackedLayout.EventAtDescriptor << 16)), place, 4));
        Assert.False(place.Plus(2, 4).NeedsEvent((uint)(place.Plus(2, 4).Word | (PackedLayout.EventAtDescriptor << 16)), place, 4));
    }

    private sealed unsafe class Model : IDisposable
    {
        private const int Segments = 2;
        private const int DataBytes = 64 << 10;
        private readonly Random _random;
        private readonly int _size;
        private readonly SharedMapping _mapping;
        private readonly InflightRegion? _notes;
        private readonly QueueSetup _setup;
        private readonly DriverRing _driver;
        private readonly Stack<ushort> _free;
        private readonly Dictionary<ulong, ushort> _inFlight = []; // by sector
        private readonly HashSet<ulong> _served = []; // taken from the ring by a device that lives
        private readonly HashSet<ulong> _pushed = [];
        private readonly HashSet<ushort> _visible = [];
        private readonly List<(DescriptorChain Chain, ulong Sector)> _held = [];
        private readonly ulong _data;
        private Virtqueue _device;
        private ulong _sector;

        public Model(int size, int depth, string name, int seed)
        {
            _random = new Random(seed);
            _size = size;
            RingDesign design = RingDesigns.Find(name)!;
            bool packed = design is PackedDesign;
            bool embedded = name.StartsWith("embedded", StringComparison.Ordinal);
            var geometry = new RingGeometry(size, depth, Segments);
            _data = (ulong)design.MemorySize(geometry);
            long bytes = (long)_data + DataBytes;
            using FileDescriptor file = SharedMapping.CreateFile("guest", bytes);
            _mapping = SharedMapping.Map(file, 0, (ulong)bytes, "guest");
            GuestMemory memory = GuestMemory.Create([new GuestRegion(0, 0, _mapping)]);
            var window = new SharedWindow(_mapping.Pointer, bytes);
            var options = new VirtioRingOptions { EmbedHeader = embedded, EmbedStatus = embedded };
            ulong features = VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | (packed ? VirtioFeatures.RingPacked : 0) | (embedded ? VirtioFeatures.EmbeddedRequests : 0);
            VringAddress address = packed ? AddressOf(window, new PackedAreas(window, geometry, options)) : AddressOf(window, new SplitAreas(window, geometry, options));
            _setup = new QueueSetup(0, memory, size, address, features, packed ? 0x80008000 : 0, null);
            if (!embedded)
            {
                long notes = InflightRegion.SizeOf(1, size, packed: true);
                using FileDescriptor notesFile = SharedMapping.CreateFile("notes", notes);
                _notes = InflightRegion.Map(notesFile, new VhostUserInflight((ulong)notes, 0, 1, (ushort)size));
            }

            _driver = design.CreateDriver(window, geometry);
            _free = new Stack<ushort>(Enumerable.Range(0, depth).Select(i => (ushort)i));
            _device = CreateDevice();
        }

        public void Run(int steps, bool mayDie)
        {
            for (int i = 0; i < steps; i++)
            {
                switch (_random.Next(mayDie ? 13 : 12))
                {
                    case 0 or 1 or 2:
                        Submit();
                        break;
                    case 3 or 4:
                        PublishRequests();
                        break;
                    case 5 or 6:
                        Pop();
                        break;
                    case 7 or 8:
                        Push();
                        break;
                    case 9:
                        PublishAnswers();
                        break;
                    case 10 or 11:
                        Collect();
                        break;
                    default:
                        Die();
                        break;
                }
            }

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

        public void Submit()
        {
            if (_free.Count == 0)
            {
                return;
            }

            var header = new RequestHeader { Sector = _sector, Type = RequestHeader.Read };
            Segment[] segments = [.. Enumerable.Range(0, _random.Next(1, Segments + 1)).Select(i => new Segment(_data + ((ulong)i * Segment.PageSize), 512))];
            if (_size >= segments.Length + 2 && _driver.TrySubmit(_free.Peek(), header, segments))
            {
                _inFlight.Add(_sector++, _free.Pop());
            }
        }

        public void PublishRequests() => _driver.Publish();

        public int Pop()
        {
            var chain = new DescriptorChain();
            PopResult result = _device.TryPop(chain);
            Assert.NotEqual(PopResult.Broken, result);
            if (result == PopResult.Empty)
            {
                chain.Dispose();
                return 0;
            }

            Assert.True(chain.TryReadHeader(out _, out ulong sector));
            Assert.True(_inFlight.TryGetValue(sector, out ushort token), $"request {sector} was answered before");
            Assert.DoesNotContain(token, _visible);
            Assert.True(_served.Add(sector), $"request {sector} came twice");
            Assert.Equal(0, chain.WritableData().Length % 512);
            _held.Add((chain, sector));
            return 1;
        }

        public void Push()
        {
            if (_held.Count == 0)
            {
                return;
            }

            int pick = _random.Next(_held.Count);
            (DescriptorChain chain, ulong sector) = _held[pick];
            _held.RemoveAt(pick);
            chain.WriteStatus(0);
            _device.PushUsed(chain, chain.WritableLength);
            chain.Dispose();
            _pushed.Add(sector);
        }

        public void PublishAnswers()
        {
            _device.Publish();
            foreach (ulong sector in _pushed)
            {
                _visible.Add(_inFlight[sector]);
                _inFlight.Remove(sector);
                _served.Remove(sector);
            }

            _pushed.Clear();
        }

        public int Collect()
        {
            int count = 0;
            while (_driver.TryTakeCompletion(out Completion completion))
            {
                Assert.Equal(0, completion.Status);
                Assert.True(_visible.Remove(completion.Token), $"answer to {completion.Token}, which was not published");
                _free.Push(completion.Token);
                count++;
            }

            Assert.Empty(_visible);
            return count;
        }

        /// <summary>The device dies, and its successor has nothing but the memory and the notes: the base that the front-end gives it is old.</summary>
        public void Die()
        {
            _held.ForEach(h => h.Chain.Dispose());
            _held.Clear();
            _pushed.Clear();
            _served.Clear();
            _device = CreateDevice();
        }

        public void Dispose()
        {
            _held.ForEach(h => h.Chain.Dispose());
            _notes?.Release();
            _mapping.Release();
        }

        private static VringAddress AddressOf(SharedWindow window, in PackedAreas areas)
            => new() { Descriptors = window.AddressOf(areas.Descriptors), Available = window.AddressOf(areas.DriverEvent), Used = window.AddressOf(areas.DeviceEvent) };

        private static VringAddress AddressOf(SharedWindow window, in SplitAreas areas)
            => new() { Descriptors = window.AddressOf(areas.Descriptors), Available = window.AddressOf(areas.Available), Used = window.AddressOf(areas.Used) };

        private Virtqueue CreateDevice()
            => _setup.IsPacked ? new PackedVirtqueue(_setup, _notes?.GetPackedQueue(0, _size)) : new SplitVirtqueue(_setup, _notes?.GetQueue(0, _size));
    }
}
