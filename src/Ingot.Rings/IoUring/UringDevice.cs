using Ingot.Linux;
using Ingot.Rings.Memory;

namespace Ingot.Rings.IoUring;

/// <summary>The kernel's side of io_uring's rings. Answers for which the completion ring has no room wait here, and a flag tells so.</summary>
internal sealed unsafe class UringDevice<TProbe> : DeviceRing
    where TProbe : struct, IMemoryProbe
{
    private readonly SharedWindow _window;
    private readonly RingGeometry _geometry;
    private readonly UringAreas _areas;
    private readonly bool _array;
    private readonly Queue<CompletionEntry> _backlog = new();
    private readonly uint _size;
    private readonly uint _completionMask;
    private uint _head;
    private uint _knownTail;
    private uint _publishedHead;
    private uint _completionTail;
    private uint _publishedCompletions;
    private uint _knownCompletionHead;
    private uint _flags;
    private int _unanswered;

    public UringDevice(SharedWindow window, RingGeometry geometry, bool array)
    {
        _window = window;
        _geometry = geometry;
        _areas = new UringAreas(window, geometry, array);
        _array = array;
        _size = (uint)geometry.QueueSize;
        _completionMask = (uint)_areas.CompletionSize - 1;
    }

    public override bool TryTake(DeviceRequest request)
    {
        if (_head == _knownTail && !RefreshTail())
        {
            return false;
        }

        uint index = _head & (_size - 1);
        if (_array)
        {
            index = Shared<TProbe>.Load(_areas.Array + index);
            if (index >= _size)
            {
                throw Broken($"named entry {index} of {_size}");
            }
        }

        SubmissionEntry entry = Shared<TProbe>.Load((SubmissionEntry*)_areas.Entries + index);
        if (entry.UserData >= (ulong)_geometry.Depth || _unanswered == _geometry.Depth)
        {
            throw Broken($"sent request {entry.UserData}, or more than {_geometry.Depth}");
        }

        request.Begin((ushort)entry.UserData);
        request.Header = new RequestHeader
        {
            Type = entry.Opcode is SubmissionEntry.Read or SubmissionEntry.ReadVector ? RequestHeader.Read : RequestHeader.Write,
            Priority = entry.Priority,
            Sector = entry.Offset >> SubmissionEntry.SectorShift,
        };
        ReadData(entry, request);
        _head++;
        _unanswered++;
        return true;
    }

    public override void Complete(ushort tag, byte status, uint length)
    {
        var entry = new CompletionEntry { UserData = tag, Result = status == 0 ? (int)length : -status };
        if (_backlog.Count > 0 || IsFull())
        {
            _backlog.Enqueue(entry);
        }
        else
        {
            Post(entry);
        }
    }

    public override bool Publish()
    {
        while (_backlog.Count > 0 && !IsFull())
        {
            Post(_backlog.Dequeue());
        }

        SetFlags(_backlog.Count > 0 ? _flags | UringAreas.Overflow : _flags & ~UringAreas.Overflow);
        if (_publishedHead != _head)
        {
            _publishedHead = _head;
            Shared<TProbe>.Release(_areas.SubmissionHead, _head);
        }

        if (_publishedCompletions == _completionTail)
        {
            return false;
        }

        _publishedCompletions = _completionTail;
        Shared<TProbe>.Release(_areas.CompletionTail, _completionTail);
        Shared<TProbe>.FullBarrier();
        return (Shared<TProbe>.Acquire(_areas.CompletionFlags) & UringAreas.EventsDisabled) == 0;
    }

    public override bool EnableKicks()
    {
        SetFlags(_flags | UringAreas.NeedWakeup);
        Shared<TProbe>.FullBarrier();
        return _head == _knownTail && !RefreshTail() && (_backlog.Count == 0 || IsFull());
    }

    public override void DisableKicks() => SetFlags(_flags & ~UringAreas.NeedWakeup);

    private void SetFlags(uint flags)
    {
        if (_flags != flags)
        {
            _flags = flags;
            Shared<TProbe>.Release(_areas.SubmissionFlags, flags);
        }
    }

    private bool RefreshTail()
    {
        uint tail = Shared<TProbe>.Acquire(_areas.SubmissionTail);
        _knownTail = tail - _head <= _size
            ? tail
            : throw Broken($"moved the submission tail from {_head} to {tail}, beyond {_size} entries");
        return _head != _knownTail;
    }

    private bool IsFull()
    {
        if (_completionTail - _knownCompletionHead <= _completionMask)
        {
            return false;
        }

        uint head = Shared<TProbe>.Acquire(_areas.CompletionHead);
        _knownCompletionHead = head - _knownCompletionHead <= _completionTail - _knownCompletionHead
            ? head
            : throw Broken($"moved the completion head from {_knownCompletionHead} to {head}, but the tail is {_completionTail}");
        return _completionTail - _knownCompletionHead > _completionMask;
    }

    private void Post(in CompletionEntry entry)
    {
        Shared<TProbe>.Store((CompletionEntry*)_areas.Completions + (_completionTail & _completionMask), entry);
        _completionTail++;
        _unanswered--;
    }

    private void ReadData(in SubmissionEntry entry, DeviceRequest request)
    {
        if (entry.Opcode is SubmissionEntry.Read or SubmissionEntry.Write)
        {
            Add(request, entry.Address, entry.Length);
            return;
        }

        byte* vector = _window.Find(entry.Address, (ulong)entry.Length * (ulong)sizeof(VectorEntry));
        bool isVector = entry.Opcode is SubmissionEntry.ReadVector or SubmissionEntry.WriteVector;
        if (!isVector || vector == null || entry.Length == 0 || entry.Length > _geometry.MaxSegments || (entry.Address & 7) != 0)
        {
            throw Broken($"sent request {entry.UserData} with opcode {entry.Opcode} and {entry.Length} vector elements at 0x{entry.Address:x}");
        }

        for (uint i = 0; i < entry.Length; i++)
        {
            VectorEntry piece = Shared<TProbe>.Load((VectorEntry*)vector + i);
            Add(request, piece.Address, piece.Length);
        }
    }

    private void Add(DeviceRequest request, ulong address, ulong length)
    {
        if (length > uint.MaxValue || !_window.Contains(address, length) || !request.TryAdd(new Segment(address, (uint)length)))
        {
            throw Broken($"sent request {request.Tag} with {length} bytes at 0x{address:x} outside of the memory");
        }
    }

    private static ErrnoException Broken(string what) => new(Errno.EPROTO, $"The driver {what}");
}
