using Ingot.Linux;

namespace Ingot.Rings.Lab;

/// <summary>Answers what comes on all queue pairs, after it has read every field of it.</summary>
internal sealed class DeviceLoop
{
    private const int SpinsBeforeYield = 1 << 14;

    private readonly LabSettings _settings;
    private readonly ControlBlock _control;
    private readonly DeviceRing[] _rings;
    private readonly Doorbell _kick;
    private readonly Doorbell _call;
    private readonly DeviceRequest[] _batch;
    private long _taken;
    private ulong _checksum;
    private long _cpuStart;
    private int _spins;

    public DeviceLoop(LabSettings settings, ControlBlock control, DeviceRing[] rings, Doorbell kick, Doorbell call)
    {
        _settings = settings;
        _control = control;
        _rings = rings;
        _kick = kick;
        _call = call;
        _batch = [.. Enumerable.Range(0, settings.Batch).Select(_ => new DeviceRequest(settings.Segments))];
    }

    /// <summary>What the device writes for a request: its data, when it reads.</summary>
    public static uint AnswerLength(in RequestHeader header, int segments)
        => header.Type == RequestHeader.Read ? (uint)(segments * Segment.PageSize) : 0;

    /// <summary>Works until the driver says that it is done.</summary>
    /// <exception cref="ErrnoException">A ring holds nonsense; the driver is told.</exception>
    public void Run()
    {
        try
        {
            while (_control.Seen != LabPhase.Done)
            {
                Turn();
            }
        }
        catch
        {
            Volatile.Write(ref _control.Failed, 1);
            _call.Ring();
            throw;
        }
    }

    private void Turn()
    {
        bool progress = false;
        foreach (DeviceRing ring in _rings)
        {
            progress |= Serve(ring);
        }

        if (_control.Phase != _control.Seen)
        {
            Follow(_control.Phase);
        }
        else if (progress)
        {
            _spins = 0;
        }
        else
        {
            Wait();
        }
    }

    private bool Serve(DeviceRing ring)
    {
        int taken = 0;
        for (; taken < _batch.Length && ring.TryTake(_batch[taken]); taken++)
        {
            _checksum += Workload.Checksum(_batch[taken].Header, _batch[taken].Segments);
        }

        bool reversed = _settings.Order == AnswerOrder.Reversed && !_settings.Design.IsInOrder;
        for (int i = 0; i < taken; i++)
        {
            DeviceRequest request = _batch[reversed ? taken - 1 - i : i];
            ring.Complete(request.Tag, 0, AnswerLength(request.Header, request.Count));
        }

        _taken += taken;
        if (ring.Publish())
        {
            _call.Ring();
        }

        return taken > 0;
    }

    private void Follow(LabPhase phase)
    {
        if (phase == LabPhase.Measuring)
        {
            _cpuStart = ThreadClock.CpuNanoseconds;
        }
        else if (phase == LabPhase.Done)
        {
            _control.DeviceCpu = ThreadClock.CpuNanoseconds - _cpuStart;
            _control.Taken = _taken;
            _control.Checksum = (long)_checksum;
        }

        _control.Seen = phase;
    }

    private void Wait()
    {
        if (_settings.Wakeup == Wakeup.EventFd)
        {
            bool idle = true;
            foreach (DeviceRing ring in _rings)
            {
                idle &= ring.EnableKicks();
            }

            if (idle)
            {
                _kick.Wait();
            }

            foreach (DeviceRing ring in _rings)
            {
                ring.DisableKicks();
            }
        }
        else if (++_spins == SpinsBeforeYield)
        {
            _spins = 0;
            Thread.Yield();
        }
    }
}
