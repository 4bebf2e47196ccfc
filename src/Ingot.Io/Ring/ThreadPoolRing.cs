using System.Runtime.InteropServices;
using Ingot.Linux;

namespace Ingot.Io;

/// <summary>
/// The ring where io_uring is not permitted: blocking calls on a few threads of its own, poll(2) for waiting. Beside an io_uring ring it serves the
/// files that were opened with aio=threads; the loop then waits in the other ring, which <paramref name="wake"/> wakes.
/// </summary>
internal sealed unsafe class ThreadPoolRing(Action? wake = null) : IoRing
{
    private const int MaxThreads = 16;

    private readonly EventFd _wakeup = new();
    private readonly Queue<RingOperation> _work = new();
    private readonly List<RingOperation> _waits = [];
    private readonly Lock _doneLock = new();
    private List<(RingOperation Operation, int Result)> _done = [];
    private List<(RingOperation Operation, int Result)> _draining = [];
    private Libc.pollfd[] _pollSet = new Libc.pollfd[8];
    private int _threads;
    private int _idle;
    private bool _stopping;
    private volatile bool _hasDone;

    public override string EngineName => "threads";

    internal override bool HasCompletions => _hasDone;

    public override void Wake()
    {
        if (wake is null)
        {
            _wakeup.Signal();
        }
        else
        {
            wake();
        }
    }

    public override void Dispose()
    {
        lock (_work)
        {
            _stopping = true;
            Monitor.PulseAll(_work);
        }

        _wakeup.Dispose();
    }

    internal override void Enqueue(RingOperation operation)
    {
        InFlight += operation.IsFileOperation ? 1 : 0;
        operation.InFlight = true;
        if (operation.Opcode is RingOpcode.Poll or RingOpcode.Watch)
        {
            _waits.Add(operation);
            return;
        }

        lock (_work)
        {
            _work.Enqueue(operation);
            if (_idle > 0)
            {
                Monitor.Pulse(_work);
            }
            else if (_threads < MaxThreads)
            {
                _threads++;
                new Thread(Work) { IsBackground = true, Name = "ingot-io" }.Start();
            }
        }
    }

    internal override void Cancel(RingOperation operation)
    {
        if (_waits.Remove(operation))
        {
            operation.InFlight = false;
            if (operation.Opcode == RingOpcode.Watch)
            {
                Return(operation);
            }
            else
            {
                operation.Finish(-(int)Errno.ECANCELED);
            }
        }
    }

    internal override void Submit(long timeoutNanoseconds)
    {
        int count = _waits.Count + 1;
        if (_pollSet.Length < count)
        {
            _pollSet = new Libc.pollfd[count * 2];
        }

        fixed (Libc.pollfd* set = _pollSet)
        {
            set[0] = new Libc.pollfd { fd = _wakeup.Descriptor.Value, events = Libc.POLLIN };
            for (int i = 1; i < count; i++)
            {
                set[i] = new Libc.pollfd { fd = _waits[i - 1].Fd, events = (short)_waits[i - 1].Flags };
            }

            long nanoseconds = _hasDone ? 0 : timeoutNanoseconds;
            var timeout = new Libc.timespec { tv_sec = nanoseconds / 1_000_000_000, tv_nsec = nanoseconds % 1_000_000_000 };
            if (Libc.ppoll(set, (nuint)count, nanoseconds < 0 ? null : &timeout, null) <= 0)
            {
                return;
            }

            if (set[0].revents != 0)
            {
                _wakeup.Clear();
            }

            for (int i = count - 1; i >= 1; i--)
            {
                if (set[i].revents != 0)
                {
                    OnReady(_waits[i - 1], set[i].revents);
                }
            }
        }
    }

    internal override void Drain()
    {
        if (!_hasDone)
        {
            return;
        }

        lock (_doneLock)
        {
            (_done, _draining) = (_draining, _done);
            _hasDone = false;
        }

        foreach ((RingOperation operation, int result) in _draining)
        {
            if (operation.Opcode == RingOpcode.Watch)
            {
                operation.Handler?.OnReady();
                continue;
            }

            InFlight -= operation.IsFileOperation ? 1 : 0;
            operation.InFlight = false;
            operation.Finish(result);
        }

        _draining.Clear();
    }

    private void OnReady(RingOperation operation, short events)
    {
        if (operation.Opcode == RingOpcode.Watch)
        {
            EventFd.Clear(operation.Fd);
        }
        else
        {
            _waits.Remove(operation);
        }

        Post(operation, events);
    }

    private void Work()
    {
        while (true)
        {
            RingOperation? operation;
            lock (_work)
            {
                while (!_work.TryDequeue(out operation))
                {
                    if (_stopping)
                    {
                        return;
                    }

                    _idle++;
                    Monitor.Wait(_work);
                    _idle--;
                }
            }

            Post(operation, Execute(operation));
            Wake();
        }
    }

    private void Post(RingOperation operation, int result)
    {
        lock (_doneLock)
        {
            _done.Add((operation, result));
            _hasDone = true;
        }
    }

    private static int Execute(RingOperation operation)
    {
        const int MaxSegments = 1024; // IOV_MAX
        Libc.iovec* iovecs = null;
        int count = 0;
        if (operation.Opcode is RingOpcode.Read or RingOpcode.Write)
        {
            iovecs = operation.PrepareIovecs(out count);
            count = Math.Min(count, MaxSegments);
        }

        nint result = operation.Opcode switch
        {
            RingOpcode.Read => Libc.preadv(operation.Fd, iovecs, count, operation.Offset),
            RingOpcode.Write when operation.Flags != 0 => Libc.pwritev2(operation.Fd, iovecs, count, operation.Offset, operation.Flags),
            RingOpcode.Write => Libc.pwritev(operation.Fd, iovecs, count, operation.Offset),
            RingOpcode.Sync => Libc.fdatasync(operation.Fd),
            RingOpcode.Allocate => Libc.fallocate(operation.Fd, operation.Flags, operation.Offset, operation.Length),
            _ => throw new InvalidOperationException($"{operation.Opcode} does not run on a thread."),
        };
        return result < 0 ? -Marshal.GetLastPInvokeError() : (int)result;
    }
}
