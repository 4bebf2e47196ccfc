using Ingot.Linux;
using Ingot.Rings.Memory;

namespace Ingot.Rings.Plain;

/// <summary>The device of the baseline.</summary>
internal sealed unsafe class PlainDevice<TProbe> : DeviceRing
    where TProbe : struct, IMemoryProbe
{
    private readonly SharedWindow _window;
    private readonly RingGeometry _geometry;
    private readonly PlainAreas _areas;
    private readonly uint _size;
    private uint _head;
    private uint _publishedHead;
    private uint _knownTail;
    private uint _answerTail;
    private uint _publishedAnswers;
    private int _unanswered;

    public PlainDevice(SharedWindow window, RingGeometry geometry)
    {
        _window = window;
        _geometry = geometry;
        _areas = new PlainAreas(window, geometry);
        _size = (uint)geometry.QueueSize;
    }

    public override bool TryTake(DeviceRequest request)
    {
        if (_head == _knownTail && !RefreshTail())
        {
            return false;
        }

        PlainRequest entry = Shared<TProbe>.Load(_areas.Requests + (_head & (_size - 1)));
        if (entry.Token >= (uint)_geometry.Depth || _unanswered == _geometry.Depth)
        {
            throw Broken($"sent request {entry.Token}, or more than {_geometry.Depth}");
        }

        request.Begin((ushort)entry.Token);
        request.Header = entry.Header;
        if (entry.Count > PlainRequest.InlineSegments)
        {
            ReadList(entry, request);
        }
        else
        {
            Add(request, entry.First);
            if (entry.Count == PlainRequest.InlineSegments)
            {
                Add(request, entry.Second);
            }
        }

        _head++;
        _unanswered++;
        return true;
    }

    public override void Complete(ushort tag, byte status, uint length)
    {
        PlainAnswer answer = new() { Token = tag, Status = status, Length = length };
        Shared<TProbe>.Store(_areas.Answers + (_answerTail & (uint)(_areas.AnswerSize - 1)), answer);
        _answerTail++;
        _unanswered--;
    }

    public override bool Publish()
    {
        if (_publishedHead != _head)
        {
            _publishedHead = _head;
            Shared<TProbe>.Release(_areas.Head, _head);
        }

        if (_publishedAnswers == _answerTail)
        {
            return false;
        }

        _publishedAnswers = _answerTail;
        Shared<TProbe>.Release(_areas.AnswerTail, _answerTail);
        Shared<TProbe>.FullBarrier();
        return Shared<TProbe>.Acquire(_areas.CallWish) != 0;
    }

    public override bool EnableKicks()
    {
        Shared<TProbe>.Release(_areas.KickWish, 1);
        Shared<TProbe>.FullBarrier();
        return _head == _knownTail && !RefreshTail();
    }

    public override void DisableKicks() => Shared<TProbe>.Release(_areas.KickWish, 0);

    private bool RefreshTail()
    {
        uint tail = Shared<TProbe>.Acquire(_areas.Tail);
        _knownTail = tail - _head <= _size
            ? tail
            : throw Broken($"moved the tail from {_head} to {tail}, beyond {_size} entries");
        return _head != _knownTail;
    }

    private void ReadList(in PlainRequest entry, DeviceRequest request)
    {
        byte* list = _window.Find(entry.First.Address, (ulong)entry.Count * (ulong)sizeof(Segment));
        if (list == null || entry.Count > (uint)_geometry.MaxSegments || (entry.First.Address & 7) != 0)
        {
            throw Broken($"sent request {entry.Token} with {entry.Count} segments at 0x{entry.First.Address:x}");
        }

        for (uint i = 0; i < entry.Count; i++)
        {
            Add(request, Shared<TProbe>.Load((Segment*)list + i));
        }
    }

    private void Add(DeviceRequest request, Segment segment)
    {
        if (!_window.Contains(segment.Address, segment.Length) || !request.TryAdd(segment))
        {
            throw Broken($"sent request {request.Tag} with {segment.Length} bytes at 0x{segment.Address:x} outside of the memory");
        }
    }

    private static ErrnoException Broken(string what) => new(Errno.EPROTO, $"The driver {what}");
}
