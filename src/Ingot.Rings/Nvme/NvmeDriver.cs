using Ingot.Linux;
using Ingot.Rings.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Rings.Nvme;

/// <summary>
/// The host of a pair of NVMe queues. A command occupies its entry until a completion reports that the controller's head has moved past it;
/// that there is room, the host cannot know earlier.
/// </summary>
internal sealed unsafe class NvmeDriver<TProbe> : DriverRing
    where TProbe : struct, IMemoryProbe
{
    private readonly SharedWindow _window;
    private readonly NvmeAreas _areas;
    private readonly bool _sgl;
    private readonly bool[] _busy; // by command identifier
    private readonly int _mask;
    private readonly int _completionMask;
    private int _tail;
    private int _publishedTail;
    private int _head; // of the submission queue, as the last completion told
    private int _completionHead;
    private int _acknowledged;
    private uint _phase = NvmeCompletion.PhaseBit;
    private int _inFlight;

    public NvmeDriver(SharedWindow window, RingGeometry geometry, bool sgl)
    {
        _window = window;
        _areas = new NvmeAreas(window, geometry);
        _sgl = sgl;
        _busy = new bool[geometry.Depth];
        _mask = geometry.QueueSize - 1;
        _completionMask = _areas.CompletionSize - 1;
        DisableCalls();
    }

    public override bool TrySubmit(ushort token, in RequestHeader header, ReadOnlySpan<Segment> segments)
    {
        if (((_tail + 1) & _mask) == _head || _inFlight == _completionMask)
        {
            return false;
        }

        long bytes = 0;
        foreach (Segment segment in segments)
        {
            bytes += segment.Length;
        }

        var command = new NvmeCommand
        {
            Opcode = header.Type == RequestHeader.Read ? NvmeCommand.Read : NvmeCommand.Write,
            Id = token,
            Namespace = 1,
            StartBlock = header.Sector,
            BlockCount = (ushort)((bytes / NvmeAreas.BlockSize) - 1),
            DatasetManagement = header.Priority,
        };
        byte* list = _areas.Lists + ((long)token * Segment.PageSize);
        if (_sgl)
        {
            command.Flags = NvmeCommand.UsesSgl;
            command.Sgl = WriteSgl(list, segments);
        }
        else
        {
            command.Prp1 = segments[0].Address;
            command.Prp2 = WritePages(list, segments);
        }

        Shared<TProbe>.Store((NvmeCommand*)_areas.Submissions + _tail, command);
        _tail = (_tail + 1) & _mask;
        _busy[token] = true;
        _inFlight++;
        return true;
    }

    public override bool Publish()
    {
        int old = _publishedTail;
        if (old == _tail)
        {
            return false;
        }

        _publishedTail = _tail;
        Shared<TProbe>.Release(_areas.TailDoorbell, (uint)_tail);
        Shared<TProbe>.FullBarrier();
        return SplitLayout.NeedsEvent((ushort)Shared<TProbe>.Acquire(_areas.TailEvent), (ushort)_tail, (ushort)old);
    }

    public override bool TryTakeCompletion(out Completion completion)
    {
        byte* entry = _areas.Completions + ((long)_completionHead * sizeof(NvmeCompletion));
        uint last = Shared<TProbe>.Acquire((uint*)(entry + NvmeCompletion.LastDword));
        if ((last & NvmeCompletion.PhaseBit) != _phase)
        {
            completion = default;
            return false;
        }

        NvmeCompletion rest = Shared<TProbe>.Load((NvmeCompletion*)entry);
        ushort token = (ushort)last;
        if (token >= _busy.Length || !_busy[token])
        {
            throw new ErrnoException(Errno.EPROTO, $"The device completed command {token}, which is not in flight");
        }

        MoveHead(rest.SubmissionHead);
        _busy[token] = false;
        _inFlight--;
        _completionHead = (_completionHead + 1) & _completionMask;
        if (_completionHead == 0)
        {
            _phase ^= NvmeCompletion.PhaseBit;
        }

        completion = new Completion(token, (byte)(last >> NvmeCompletion.StatusShift), rest.Result);
        return true;
    }

    public override bool Acknowledge()
    {
        int old = _acknowledged;
        if (old == _completionHead)
        {
            return false;
        }

        _acknowledged = _completionHead;
        Shared<TProbe>.Release(_areas.HeadDoorbell, (uint)_completionHead);
        Shared<TProbe>.FullBarrier();
        return SplitLayout.NeedsEvent((ushort)Shared<TProbe>.Acquire(_areas.HeadEvent), (ushort)_completionHead, (ushort)old);
    }

    public override bool EnableCalls()
    {
        Shared<TProbe>.Release(_areas.InterruptMask, 0);
        Shared<TProbe>.FullBarrier();
        byte* entry = _areas.Completions + ((long)_completionHead * sizeof(NvmeCompletion));
        return (Shared<TProbe>.Acquire((uint*)(entry + NvmeCompletion.LastDword)) & NvmeCompletion.PhaseBit) != _phase;
    }

    public override void DisableCalls() => Shared<TProbe>.Release(_areas.InterruptMask, 1);

    private SglDescriptor WriteSgl(byte* list, ReadOnlySpan<Segment> segments)
    {
        if (segments.Length == 1)
        {
            return new SglDescriptor { Address = segments[0].Address, Length = segments[0].Length };
        }

        for (int i = 0; i < segments.Length; i++)
        {
            Shared<TProbe>.Store((SglDescriptor*)list + i, new SglDescriptor { Address = segments[i].Address, Length = segments[i].Length });
        }

        uint bytes = (uint)(segments.Length * NvmeAreas.SglBytes);
        return new SglDescriptor { Address = _window.AddressOf(list), Length = bytes, Type = SglDescriptor.LastSegment };
    }

    // What PRP 2 is: nothing, the second page, or a list of all but the first (base specification 2.0, 4.1.1).
    private ulong WritePages(byte* list, ReadOnlySpan<Segment> segments)
    {
        if (segments.Length <= 2)
        {
            return segments.Length == 2 ? segments[1].Address : 0;
        }

        for (int i = 1; i < segments.Length; i++)
        {
            Shared<TProbe>.Store((ulong*)list + i - 1, segments[i].Address);
        }

        return _window.AddressOf(list);
    }

    private void MoveHead(ushort head)
    {
        int taken = (head - _head) & _mask;
        _head = head <= _mask && taken <= ((_publishedTail - _head) & _mask)
            ? head
            : throw new ErrnoException(Errno.EPROTO, $"The device reported submission queue head {head}, but the tail is {_publishedTail}");
    }
}
