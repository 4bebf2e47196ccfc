using Ingot.Rings;
using Ingot.Rings.Memory;
using Xunit;

namespace Ingot.Tests.Rings;

/// <summary>Both sides of a ring in random steps, beside two lists that say what must come out.</summary>
internal sealed class RingModel
{
    private const int DataPages = 64;
    private const int MaxRounds = 10_000;

    private readonly RingDesign _design;
    private readonly RingGeometry _geometry;
    private readonly Random _random;
    private readonly DriverRing _driver;
    private readonly DeviceRing _device;
    private readonly DeviceRequest _request;
    private readonly ulong _dataStart;
    private readonly List<ushort> _freeTokens;
    private readonly Dictionary<ushort, (RequestHeader Header, Segment[] Segments)> _inFlight = [];
    private readonly Queue<ushort> _submitted = new();
    private readonly Queue<ushort> _published = new();
    private readonly List<(ushort Tag, ushort Token)> _taken = [];
    private readonly Queue<Completion> _answered = new();
    private readonly Queue<Completion> _visible = new();

    public RingModel(RingDesign design, RingGeometry geometry, SharedWindow window, int seed)
    {
        _design = design;
        _geometry = geometry;
        _random = new Random(seed);
        _driver = design.CreateDriver(window, geometry);
        _device = design.CreateDevice(window, geometry);
        _request = new DeviceRequest(geometry.MaxSegments);
        _dataStart = (ulong)WindowBytes(design, geometry) - (DataPages * Segment.PageSize);
        _freeTokens = [.. Enumerable.Range(0, geometry.Depth).Select(i => (ushort)i)];
    }

    public int MostInFlight { get; private set; }

    public static long WindowBytes(RingDesign design, RingGeometry geometry)
        => ((design.MemorySize(geometry) + Segment.PageSize - 1) & -Segment.PageSize) + (DataPages * Segment.PageSize);

    /// <summary>One random step of either side.</summary>
    public void Step()
    {
        switch (_random.Next(6))
        {
            case 0 or 1:
                Submit();
                break;
            case 2:
                Publish();
                break;
            case 3:
                Take();
                break;
            case 4:
                Answer();
                break;
            default:
                Collect();
                break;
        }
    }

    /// <summary>Lets everything in flight be answered; afterwards the ring takes requests again.</summary>
    public void Drain()
    {
        for (int rounds = 0; _inFlight.Count > 0; rounds++)
        {
            Assert.True(rounds < MaxRounds, $"{_design.Name} is stuck with {_inFlight.Count} requests in flight");
            Publish();
            Take();
            Answer();
            Collect();
        }

        Assert.False(_driver.TryTakeCompletion(out _));
        Assert.False(_device.TryTake(_request));
        Assert.True(Submit(), $"{_design.Name} is full when nothing is in flight");
    }

    private bool Submit()
    {
        if (_freeTokens.Count == 0)
        {
            return false;
        }

        int pick = _random.Next(_freeTokens.Count);
        ushort token = _freeTokens[pick];
        var header = new RequestHeader
        {
            Type = (uint)_random.Next(2),
            Priority = (uint)_random.Next(ushort.MaxValue + 1),
            Sector = (ulong)_random.NextInt64(1L << 50),
        };
        // Whole pages but for the last segment: NVMe's physical region pages allow no less.
        Segment[] segments = [.. Enumerable.Range(0, _random.Next(1, _geometry.MaxSegments + 1)).Select(_ => new Segment(Page(), Segment.PageSize))];
        segments[^1] = segments[^1] with { Length = (uint)_random.Next(1, 9) * 512 };
        if (!_driver.TrySubmit(token, header, segments))
        {
            return false;
        }

        _freeTokens.RemoveAt(pick);
        _inFlight.Add(token, (header, segments));
        _submitted.Enqueue(token);
        MostInFlight = Math.Max(MostInFlight, _inFlight.Count);
        return true;
    }

    private void Publish()
    {
        _driver.Publish();
        Move(_submitted, _published);
    }

    private void Take()
    {
        for (int i = _random.Next(1, 5); i > 0; i--)
        {
            bool took = _device.TryTake(_request);
            Assert.Equal(_published.Count > 0, took);
            if (!took)
            {
                return;
            }

            ushort token = _published.Dequeue();
            Assert.Equal(_inFlight[token].Header, _request.Header);
            Assert.Equal(_inFlight[token].Segments, _request.Segments);
            _taken.Add((_request.Tag, token));
        }
    }

    private void Answer()
    {
        for (int i = _random.Next(0, 4); i > 0 && _taken.Count > 0; i--)
        {
            int pick = _design.IsInOrder ? 0 : _random.Next(_taken.Count);
            (ushort tag, ushort token) = _taken[pick];
            _taken.RemoveAt(pick);
            byte status = (byte)(_random.Next(4) == 0 ? _random.Next(1, 3) : 0);
            uint length = status == 0 ? (uint)_random.Next(1 << 20) : 0;
            _device.Complete(tag, status, length);
            _answered.Enqueue(new Completion(token, status, length));
        }

        _device.Publish();
        Move(_answered, _visible);
    }

    private void Collect()
    {
        for (int i = _random.Next(1, 6); i > 0; i--)
        {
            if (!_driver.TryTakeCompletion(out Completion completion))
            {
                // A ring of answers that was full keeps some back until the device looks again.
                Assert.True(_visible.Count == 0 || _design.Name.StartsWith("io-uring", StringComparison.Ordinal), $"{_design.Name} lost an answer");
                break;
            }

            Completion expected = _visible.Dequeue();
            Assert.Equal(expected, completion with { Length = completion.Length ?? expected.Length });
            Assert.True(completion.Length is not null || _design.IsInOrder, "only answers in order may come without a length");
            _inFlight.Remove(completion.Token);
            _freeTokens.Add(completion.Token);
        }

        _driver.Acknowledge();
    }

    private ulong Page() => _dataStart + ((ulong)_random.Next(DataPages) * Segment.PageSize);

    private static void Move<T>(Queue<T> from, Queue<T> to)
    {
        while (from.TryDequeue(out T? item))
        {
            to.Enqueue(item);
        }
    }
}
