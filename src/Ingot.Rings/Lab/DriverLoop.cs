using Ingot.Linux;

namespace Ingot.Rings.Lab;

/// <summary>Keeps all queue pairs full, and checks the answers.</summary>
internal sealed class DriverLoop
{
    private const int SpinsBeforeYield = 1 << 14;

    private readonly LabSettings _settings;
    private readonly ControlBlock _control;
    private readonly Pair[] _pairs;
    private readonly Doorbell _kick;
    private readonly Doorbell _call;
    private long _submitted;
    private long _completed;
    private int _spins;

    public DriverLoop(LabSettings settings, ControlBlock control, DriverRing[] rings, Workload workload, Doorbell kick, Doorbell call)
    {
        _settings = settings;
        _control = control;
        _pairs = [.. rings.Select(ring => new Pair(ring, settings.Depth))];
        Workload = workload;
        _kick = kick;
        _call = call;
    }

    public Workload Workload { get; }

    /// <summary>The sum of the checksums of all requests so far.</summary>
    public ulong Checksum { get; private set; }

    public long Submitted => _submitted;

    /// <summary>Sends so many requests, and waits for the answers.</summary>
    public void Run(long requests)
    {
        long goal = _submitted + requests;
        while (_completed < goal)
        {
            bool progress = false;
            foreach (Pair pair in _pairs)
            {
                progress |= Submit(pair, goal) | Collect(pair);
            }

            if (progress)
            {
                _spins = 0;
            }
            else
            {
                Wait();
            }
        }
    }

    private bool Submit(Pair pair, long goal)
    {
        int batch = (int)Math.Min(_settings.Batch, goal - _submitted);
        if (batch == 0 || pair.FreeCount < batch)
        {
            return false;
        }

        int sent = 0;
        for (; sent < batch; sent++)
        {
            ushort token = pair.Free[pair.FreeCount - 1];
            if (!pair.Ring.TrySubmit(token, Workload.Header(_submitted), Workload.Segments(_submitted)))
            {
                break;
            }

            pair.FreeCount--;
            pair.Numbers[token] = _submitted;
            Checksum += Workload.Checksum(_submitted);
            _submitted++;
        }

        if (sent > 0 && pair.Ring.Publish())
        {
            _kick.Ring();
        }

        return sent > 0;
    }

    private bool Collect(Pair pair)
    {
        int taken = 0;
        for (; taken < _settings.Batch && pair.Ring.TryTakeCompletion(out Completion completion); taken++)
        {
            long number = pair.Numbers[completion.Token];
            uint expected = DeviceLoop.AnswerLength(Workload.Header(number), _settings.Segments);
            if (completion.Status != 0 || (completion.Length is { } length && length != expected))
            {
                throw new ErrnoException(Errno.EIO, $"Request {number} got the status {completion.Status} and the length {completion.Length}, expected {expected}");
            }

            pair.Free[pair.FreeCount++] = completion.Token;
        }

        _completed += taken;
        if (taken > 0 && pair.Ring.Acknowledge())
        {
            _kick.Ring();
        }

        return taken > 0;
    }

    private void Wait()
    {
        if (_control.Failed != 0)
        {
            throw new ErrnoException(Errno.EPIPE, "The device's side of the rings has given up");
        }

        if (_settings.Wakeup == Wakeup.EventFd)
        {
            // Not a LINQ query: every ring has to be asked.
            bool idle = true;
            foreach (Pair pair in _pairs)
            {
                idle &= pair.Ring.EnableCalls();
            }

            if (idle)
            {
                _call.Wait();
            }

            foreach (Pair pair in _pairs)
            {
                pair.Ring.DisableCalls();
            }
        }
        else if (++_spins == SpinsBeforeYield)
        {
            // The other side may be waiting for this processor.
            _spins = 0;
            Thread.Yield();
        }
    }

    private sealed class Pair(DriverRing ring, int depth)
    {
        public DriverRing Ring { get; } = ring;

        public ushort[] Free { get; } = [.. Enumerable.Range(0, depth).Select(i => (ushort)i)];

        public long[] Numbers { get; } = new long[depth]; // by token: which request of the workload it is

        public int FreeCount { get; set; } = depth;
    }
}
