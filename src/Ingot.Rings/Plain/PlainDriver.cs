using Ingot.Linux;
using Ingot.Rings.Memory;

namespace Ingot.Rings.Plain;

/// <summary>The driver of the baseline: the least that a ring can do.</summary>
internal sealed unsafe class PlainDriver<TProbe> : DriverRing
    where TProbe : struct, IMemoryProbe
{
    private readonly SharedWindow _window;
    private readonly PlainAreas _areas;
    private readonly bool[] _busy; // by token
    private readonly uint _size;
    private uint _tail;
    private uint _publishedTail;
    private uint _knownHead;
    private uint _answerHead;
    private uint _knownAnswers;

    public PlainDriver(SharedWindow window, RingGeometry geometry)
    {
        _window = window;
        _areas = new PlainAreas(window, geometry);
        _busy = new bool[geometry.Depth];
        _size = (uint)geometry.QueueSize;
    }

    public override bool TrySubmit(ushort token, in RequestHeader header, ReadOnlySpan<Segment> segments)
    {
        if (_tail - _knownHead == _size && !RefreshHead())
        {
            return false;
        }

        var request = new PlainRequest { Header = header, Token = token, Count = (uint)segments.Length, First = segments[0] };
        if (segments.Length == PlainRequest.InlineSegments)
        {
            request.Second = segments[1];
        }
        else if (segments.Length > PlainRequest.InlineSegments)
        {
            request.First = WriteList(token, segments);
        }

        Shared<TProbe>.Store(_areas.Requests + (_tail & (_size - 1)), request);
        _tail++;
        _busy[token] = true;
        return true;
    }

    public override bool Publish()
    {
        if (_publishedTail == _tail)
        {
            return false;
        }

        _publishedTail = _tail;
        Shared<TProbe>.Release(_areas.Tail, _tail);
        Shared<TProbe>.FullBarrier();
        return Shared<TProbe>.Acquire(_areas.KickWish) != 0;
    }

    public override bool TryTakeCompletion(out Completion completion)
    {
        if (_answerHead == _knownAnswers && !RefreshAnswers())
        {
            completion = default;
            return false;
        }

        PlainAnswer answer = Shared<TProbe>.Load(_areas.Answers + (_answerHead & (uint)(_areas.AnswerSize - 1)));
        if (answer.Token >= _busy.Length || !_busy[answer.Token])
        {
            throw new ErrnoException(Errno.EPROTO, $"The device answered request {answer.Token}, which is not in flight");
        }

        _answerHead++;
        _busy[answer.Token] = false;
        completion = new Completion(answer.Token, answer.Status, answer.Length);
        return true;
    }

    public override bool EnableCalls()
    {
        Shared<TProbe>.Release(_areas.CallWish, 1);
        Shared<TProbe>.FullBarrier();
        return Shared<TProbe>.Acquire(_areas.AnswerTail) == _answerHead;
    }

    public override void DisableCalls() => Shared<TProbe>.Release(_areas.CallWish, 0);

    private Segment WriteList(ushort token, ReadOnlySpan<Segment> segments)
    {
        var list = (Segment*)(_areas.Lists + ((long)token * _areas.ListStride));
        for (int i = 0; i < segments.Length; i++)
        {
            Shared<TProbe>.Store(list + i, segments[i]);
        }

        return new Segment(_window.AddressOf(list), (uint)(segments.Length * sizeof(Segment)));
    }

    private bool RefreshHead()
    {
        uint head = Shared<TProbe>.Acquire(_areas.Head);
        _knownHead = head - _knownHead <= _publishedTail - _knownHead
            ? head
            : throw new ErrnoException(Errno.EPROTO, $"The device moved the head from {_knownHead} to {head}, but the tail is {_publishedTail}");
        return _tail - _knownHead != _size;
    }

    private bool RefreshAnswers()
    {
        uint tail = Shared<TProbe>.Acquire(_areas.AnswerTail);
        _knownAnswers = tail - _answerHead <= (uint)_areas.AnswerSize
            ? tail
            : throw new ErrnoException(Errno.EPROTO, $"The device moved the answers' tail from {_answerHead} to {tail}, beyond {_areas.AnswerSize} entries");
        return tail != _answerHead;
    }
}
