using Ingot.Linux;
using Ingot.Virtio.Rings;

namespace Ingot.Virtio.Blk;

/// <summary>One queue of a driver: its ring and doorbell, what is in flight on it, and how an operation becomes descriptors.</summary>
internal sealed unsafe class VirtioBlkQueue : IDisposable
{
    private readonly int _index;
    private readonly VirtioBlkDriverMemory _memory;
    private readonly VirtioBlkOperation?[] _operations; // by slot
    private readonly uint _maxSegment;
    private readonly EventFd _kick = new();

    internal VirtioBlkQueue(int index, VirtioBlkDriverMemory memory, VirtioBlkDriverOptions options)
    {
        _index = index;
        _memory = memory;
        _maxSegment = options.MaxSegmentSize;
        Ring = DriverQueue.Create(memory.Ring(index), options.QueueSize, options.MaxDescriptors, options.Features, _kick.Descriptor);
        MaxSegments = Ring.MaxDescriptors - options.Overhead;
        _operations = new VirtioBlkOperation?[Ring.SlotCount];
    }

    internal DriverQueue Ring { get; }

    internal FileDescriptor Kick => _kick.Descriptor;

    internal int MaxSegments { get; }

    /// <summary>Makes an operation available, if there is a slot and memory for it.</summary>
    internal bool TryStart(VirtioBlkOperation operation)
    {
        bool hasData = operation.Data.Length > 0;
        bool direct = hasData && _memory.IsReachable(operation.Data, MaxSegments, _maxSegment);
        if (!Ring.HasFreeSlot || (hasData && !direct && !_memory.TryBounce(operation)))
        {
            return false;
        }

        int slot = Ring.Rent();
        _operations[slot] = operation;
        if (Ring.IsEmbedded)
        {
            AddData(slot, operation, direct);
            Ring.Submit(slot, operation.HeaderLow, operation.HeaderHigh);
        }
        else
        {
            _memory.WriteHeader(_index, slot, operation);
            Ring.Add(_memory.Header(_index, slot), BlkRequestHeader.Size, false);
            AddData(slot, operation, direct);
            Ring.Add(_memory.Status(_index, slot), 1, true);
            Ring.Submit(slot);
        }

        return true;
    }

    /// <summary>Takes the next operation that the device has done; its data is where it belongs, and its slot is free.</summary>
    internal VirtioBlkOperation? TryTake(out BlkStatus status)
    {
        if (!Ring.TryTakeUsed(out int slot))
        {
            status = default;
            return null;
        }

        VirtioBlkOperation operation = _operations[slot]!;
        _operations[slot] = null;
        // SAFETY: the queue gives slots that are its own.
        status = (BlkStatus)(Ring.IsEmbedded ? Ring.UsedStatus : *_memory.Status(_index, slot));
        Ring.Return(slot);
        _memory.EndBounce(operation, status == BlkStatus.Ok);
        return operation;
    }

    /// <summary>Takes everything away from a device that failed.</summary>
    internal void Abandon(List<VirtioBlkOperation> ended)
    {
        for (int slot = 0; slot < _operations.Length; slot++)
        {
            if (_operations[slot] is { } operation)
            {
                _operations[slot] = null;
                ended.Add(operation);
            }
        }
    }

    public void Dispose() => _kick.Dispose();

    private void AddData(int slot, VirtioBlkOperation operation, bool direct)
    {
        if (direct)
        {
            foreach (Span<byte> part in operation.Data)
            {
                // SAFETY: the memory of a vector is unmanaged, so its address is stable.
                fixed (byte* start = part)
                {
                    AddSegments(start, part.Length, operation.DeviceWrites);
                }
            }
        }
        else if (operation.Data.Length > 0)
        {
            AddSegments(_memory.Bounce(operation), (int)operation.Data.Length, operation.DeviceWrites);
        }
        else if (operation.RangeSectors > 0)
        {
            _memory.WriteRange(_index, slot, operation);
            Ring.Add(_memory.Range(_index, slot), BlkRange.Size, false);
        }
    }

    private void AddSegments(byte* start, int length, bool deviceWrites)
    {
        for (int done = 0; done < length;)
        {
            uint piece = (uint)Math.Min(length - done, _maxSegment);
            Ring.Add(start + done, piece, deviceWrites);
            done += (int)piece;
        }
    }
}
