using Ingot.Linux;
using Ingot.Rings.Memory;

namespace Ingot.Rings.Nvme;

/// <summary>The controller of a pair of NVMe queues. Answers for which the completion queue has no room wait here.</summary>
internal sealed unsafe class NvmeDevice<TProbe> : DeviceRing
    where TProbe : struct, IMemoryProbe
{
    private readonly SharedWindow _window;
    private readonly RingGeometry _geometry;
    private readonly NvmeAreas _areas;
    private readonly bool[] _taken; // by command identifier
    private readonly Queue<Answer> _backlog = new();
    private readonly int _mask;
    private readonly int _completionMask;
    private int _head;
    private int _knownTail;
    private int _completionTail;
    private int _knownCompletionHead;
    private uint _phase = NvmeCompletion.PhaseBit;
    private uint* _first; // the last dword of the first answer since Publish: written last
    private uint _firstDword;

    public NvmeDevice(SharedWindow window, RingGeometry geometry)
    {
        _window = window;
        _geometry = geometry;
        _areas = new NvmeAreas(window, geometry);
        _taken = new bool[geometry.Depth];
        _mask = geometry.QueueSize - 1;
        _completionMask = _areas.CompletionSize - 1;
        DisableKicks();
    }

    public override bool TryTake(DeviceRequest request)
    {
        if (_head == _knownTail && !RefreshTail())
        {
            return false;
        }

        NvmeCommand command = Shared<TProbe>.Load((NvmeCommand*)_areas.Submissions + _head);
        if (command.Id >= _taken.Length || _taken[command.Id])
        {
            throw Broken($"sent command {command.Id} of {_taken.Length}, which is none or taken");
        }

        request.Begin(command.Id);
        request.Header = new RequestHeader
        {
            Type = command.Opcode switch
            {
                NvmeCommand.Read => RequestHeader.Read,
                NvmeCommand.Write => RequestHeader.Write,
                _ => throw Broken($"sent command {command.Id} with the unknown opcode {command.Opcode}"),
            },
            Priority = command.DatasetManagement,
            Sector = command.StartBlock,
        };
        if ((command.Flags & NvmeCommand.UsesSgl) != 0)
        {
            ReadSgl(command, request);
        }
        else
        {
            ReadPages(command, request);
        }

        _taken[command.Id] = true;
        _head = (_head + 1) & _mask;
        return true;
    }

    public override void Complete(ushort tag, byte status, uint length)
    {
        _taken[tag] = false;
        var answer = new Answer(tag, status, length);
        if (_backlog.Count > 0 || IsFull())
        {
            _backlog.Enqueue(answer);
        }
        else
        {
            Post(answer);
        }
    }

    public override bool Publish()
    {
        while (_backlog.Count > 0 && !IsFull())
        {
            Post(_backlog.Dequeue());
        }

        if (_first == null)
        {
            return false;
        }

        Shared<TProbe>.Release(_first, _firstDword);
        _first = null;
        Shared<TProbe>.FullBarrier();
        return Shared<TProbe>.Acquire(_areas.InterruptMask) == 0;
    }

    public override bool EnableKicks()
    {
        Shared<TProbe>.Release(_areas.TailEvent, (uint)_knownTail);
        Shared<TProbe>.Release(_areas.HeadEvent, (uint)(_backlog.Count > 0 ? _knownCompletionHead : _knownCompletionHead - 1));
        Shared<TProbe>.FullBarrier();
        return _head == _knownTail && !RefreshTail() && (_backlog.Count == 0 || IsFull());
    }

    public override void DisableKicks()
    {
        Shared<TProbe>.Release(_areas.TailEvent, (uint)(_knownTail - 1));
        Shared<TProbe>.Release(_areas.HeadEvent, (uint)(_knownCompletionHead - 1));
    }

    private bool RefreshTail()
    {
        uint tail = Shared<TProbe>.Acquire(_areas.TailDoorbell);
        _knownTail = tail <= (uint)_mask ? (int)tail : throw Broken($"rang the tail doorbell with {tail}, beyond {_mask + 1} entries");
        return _head != _knownTail;
    }

    private bool IsFull()
    {
        int next = (_completionTail + 1) & _completionMask;
        if (next != _knownCompletionHead)
        {
            return false;
        }

        uint head = Shared<TProbe>.Acquire(_areas.HeadDoorbell);
        _knownCompletionHead = head <= (uint)_completionMask ? (int)head : throw Broken($"rang the head doorbell with {head}, beyond {_completionMask + 1} entries");
        return next == _knownCompletionHead;
    }

    private void Post(in Answer answer)
    {
        byte* entry = _areas.Completions + ((long)_completionTail * sizeof(NvmeCompletion));
        Shared<TProbe>.Store((uint*)entry, answer.Length);
        Shared<TProbe>.Store((ushort*)(entry + 8), (ushort)_head);
        uint dword = answer.Id | _phase | ((uint)answer.Status << NvmeCompletion.StatusShift);
        if (_first == null)
        {
            _first = (uint*)(entry + NvmeCompletion.LastDword);
            _firstDword = dword;
        }
        else
        {
            Shared<TProbe>.Release((uint*)(entry + NvmeCompletion.LastDword), dword);
        }

        _completionTail = (_completionTail + 1) & _completionMask;
        if (_completionTail == 0)
        {
            _phase ^= NvmeCompletion.PhaseBit;
        }
    }

    private void ReadSgl(in NvmeCommand command, DeviceRequest request)
    {
        if (command.Sgl.Type == SglDescriptor.DataBlock)
        {
            Add(request, command.Sgl.Address, command.Sgl.Length);
            return;
        }

        uint count = command.Sgl.Length / NvmeAreas.SglBytes;
        byte* list = _window.Find(command.Sgl.Address, command.Sgl.Length);
        if (command.Sgl.Type != SglDescriptor.LastSegment || list == null || count == 0 || count > _geometry.MaxSegments || (command.Sgl.Address & 7) != 0)
        {
            throw Broken($"sent command {command.Id} with a list of type 0x{command.Sgl.Type:x} and {command.Sgl.Length} bytes at 0x{command.Sgl.Address:x}");
        }

        for (uint i = 0; i < count; i++)
        {
            SglDescriptor piece = Shared<TProbe>.Load((SglDescriptor*)list + i);
            Add(request, piece.Address, piece.Type == SglDescriptor.DataBlock ? piece.Length : uint.MaxValue);
        }
    }

    private void ReadPages(in NvmeCommand command, DeviceRequest request)
    {
        uint left = (command.BlockCount + 1u) * NvmeAreas.BlockSize;
        uint first = Math.Min(left, Segment.PageSize - (uint)(command.Prp1 % Segment.PageSize));
        Add(request, command.Prp1, first);
        left -= first;
        if (left <= Segment.PageSize)
        {
            if (left > 0)
            {
                Add(request, command.Prp2, left);
            }

            return;
        }

        int count = (int)((left + Segment.PageSize - 1) / Segment.PageSize);
        byte* list = _window.Find(command.Prp2, (ulong)count * sizeof(ulong));
        if (count >= _geometry.MaxSegments || list == null || (command.Prp2 & 7) != 0)
        {
            throw Broken($"sent command {command.Id} with {count} more pages in a list at 0x{command.Prp2:x}");
        }

        for (int i = 0; i < count; i++)
        {
            uint piece = Math.Min(left, Segment.PageSize);
            Add(request, Shared<TProbe>.Load((ulong*)list + i), piece);
            left -= piece;
        }
    }

    private void Add(DeviceRequest request, ulong address, uint length)
    {
        if (!_window.Contains(address, length) || !request.TryAdd(new Segment(address, length)))
        {
            throw Broken($"sent command {request.Tag} with {length} bytes at 0x{address:x} outside of the memory, or with too many pieces");
        }
    }

    private static ErrnoException Broken(string what) => new(Errno.EPROTO, $"The driver {what}");

    private readonly record struct Answer(ushort Id, byte Status, uint Length);
}
