using Ingot.Linux;
using Ingot.Rings.Memory;

namespace Ingot.Rings.IoUring;

/// <summary>The program's side of io_uring's rings. An entry is free again as soon as the other side has read it, so more can be in flight than fit into the ring.</summary>
internal sealed unsafe class UringDriver<TProbe> : DriverRing
    where TProbe : struct, IMemoryProbe
{
    private readonly SharedWindow _window;
    private readonly UringAreas _areas;
    private readonly bool _array;
    private readonly bool[] _busy; // by token
    private readonly uint _size;
    private readonly uint _completionMask;
    private uint _tail;
    private uint _publishedTail;
    private uint _knownHead;
    private uint _completionHead;
    private uint _knownCompletionTail;
    private uint _acknowledged;

    public UringDriver(SharedWindow window, RingGeometry geometry, bool array)
    {
        _window = window;
        _areas = new UringAreas(window, geometry, array);
        _array = array;
        _busy = new bool[geometry.Depth];
        _size = (uint)geometry.QueueSize;
        _completionMask = (uint)_areas.CompletionSize - 1;
        DisableCalls();
    }

    public override bool TrySubmit(ushort token, in RequestHeader header, ReadOnlySpan<Segment> segments)
    {
        if (_tail - _knownHead == _size && !RefreshHead())
        {
            return false;
        }

        bool isRead = header.Type == RequestHeader.Read;
        var entry = new SubmissionEntry
        {
            Priority = (ushort)header.Priority,
            Offset = header.Sector << SubmissionEntry.SectorShift,
            UserData = token,
        };
        if (segments.Length == 1)
        {
            entry.Opcode = isRead ? SubmissionEntry.Read : SubmissionEntry.Write;
            entry.Address = segments[0].Address;
            entry.Length = segments[0].Length;
        }
        else
        {
            entry.Opcode = isRead ? SubmissionEntry.ReadVector : SubmissionEntry.WriteVector;
            entry.Address = WriteVector(token, segments);
            entry.Length = (uint)segments.Length;
        }

        uint index = _tail & (_size - 1);
        Shared<TProbe>.Store((SubmissionEntry*)_areas.Entries + index, entry);
        if (_array)
        {
            Shared<TProbe>.Store(_areas.Array + index, index);
        }

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
        Shared<TProbe>.Release(_areas.SubmissionTail, _tail);
        Shared<TProbe>.FullBarrier();
        return (Shared<TProbe>.Acquire(_areas.SubmissionFlags) & UringAreas.NeedWakeup) != 0;
    }

    public override bool TryTakeCompletion(out Completion completion)
    {
        if (_completionHead == _knownCompletionTail && !RefreshCompletions())
        {
            completion = default;
            return false;
        }

        CompletionEntry entry = Shared<TProbe>.Load((CompletionEntry*)_areas.Completions + (_completionHead & _completionMask));
        if (entry.UserData >= (ulong)_busy.Length || !_busy[entry.UserData])
        {
            throw new ErrnoException(Errno.EPROTO, $"The device completed request {entry.UserData}, which is not in flight");
        }

        _completionHead++;
        _busy[entry.UserData] = false;
        completion = entry.Result < 0
            ? new Completion((ushort)entry.UserData, (byte)-entry.Result, 0)
            : new Completion((ushort)entry.UserData, 0, (uint)entry.Result);
        return true;
    }

    public override bool Acknowledge()
    {
        if (_acknowledged == _completionHead)
        {
            return false;
        }

        _acknowledged = _completionHead;
        Shared<TProbe>.Release(_areas.CompletionHead, _completionHead);
        Shared<TProbe>.FullBarrier();
        uint flags = Shared<TProbe>.Acquire(_areas.SubmissionFlags);
        return (flags & UringAreas.Overflow) != 0 && (flags & UringAreas.NeedWakeup) != 0;
    }

    public override bool EnableCalls()
    {
        Shared<TProbe>.Release(_areas.CompletionFlags, 0);
        Shared<TProbe>.FullBarrier();
        return Shared<TProbe>.Acquire(_areas.CompletionTail) == _completionHead;
    }

    public override void DisableCalls() => Shared<TProbe>.Release(_areas.CompletionFlags, UringAreas.EventsDisabled);

    private ulong WriteVector(ushort token, ReadOnlySpan<Segment> segments)
    {
        var vector = (VectorEntry*)(_areas.Vectors + ((long)token * _areas.VectorStride));
        for (int i = 0; i < segments.Length; i++)
        {
            Shared<TProbe>.Store(vector + i, new VectorEntry { Address = segments[i].Address, Length = segments[i].Length });
        }

        return _window.AddressOf(vector);
    }

    private bool RefreshHead()
    {
        uint head = Shared<TProbe>.Acquire(_areas.SubmissionHead);
        _knownHead = head - _knownHead <= _publishedTail - _knownHead
            ? head
            : throw new ErrnoException(Errno.EPROTO, $"The device moved the submission head from {_knownHead} to {head}, but the tail is {_publishedTail}");
        return _tail - _knownHead != _size;
    }

    private bool RefreshCompletions()
    {
        uint tail = Shared<TProbe>.Acquire(_areas.CompletionTail);
        _knownCompletionTail = tail - _completionHead <= _completionMask + 1
            ? tail
            : throw new ErrnoException(Errno.EPROTO, $"The device moved the completion tail from {_completionHead} to {tail}, beyond {_completionMask + 1} entries");
        return tail != _completionHead;
    }
}
