using Ingot.Exports.VirtioBlk;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Rings;
using Ingot.Virtio.VhostUser;

namespace Ingot.Exports.VhostUser;

/// <summary>
/// Serves one virtqueue on one loop: takes what is there in each turn, answers at once what the node answers at once, shows the driver a turn's
/// answers together and rings its bell at most once. Kicks are only asked for when the loop is about to sleep.
/// </summary>
internal sealed class QueueWorker(int index, EventLoop loop, VirtioBlkHandler handler, bool registersMemory, Action<string> warn) : ILoopPoller, IEndOfTurn, IReadyHandler
{
    private const int RequestsPerTurn = 128;
    private const long BytesPerTurn = 16 << 20; // a few milliseconds of copying, so that other queues and exports of the loop have their turn

    private readonly InFlightCounter _inFlight = new();
    private RequestSlot[] _free = [];
    private int _freeCount;
    private Virtqueue? _queue;
    private Doorbells _doorbells;
    private DoorbellWatch? _watch;
    private bool _kickIsStream;
    private bool _isAccepting;
    private bool _isHooked;
    private bool _hasRegistered;
    private long _requests;
    private long _bytesRead;
    private long _bytesWritten;
    private long _errors;

    /// <summary>The loop that all other members but <see cref="Count"/> are called on.</summary>
    internal EventLoop Loop { get; } = loop;

    /// <summary>Adds this queue's counters; any thread.</summary>
    internal ExportStatistics Count(ExportStatistics sum) => sum with
    {
        Requests = sum.Requests + Volatile.Read(ref _requests),
        BytesRead = sum.BytesRead + Volatile.Read(ref _bytesRead),
        BytesWritten = sum.BytesWritten + Volatile.Read(ref _bytesWritten),
        Errors = sum.Errors + Volatile.Read(ref _errors),
    };

    internal void Start(Virtqueue queue, Doorbells doorbells)
    {
        _queue = queue;
        if (_free.Length < queue.Size + 1)
        {
            Array.Resize(ref _free, queue.Size + 1);
        }

        RegisterMemory(queue);
        _isAccepting = true;
        queue.DisableKicks();
        Loop.AddPoller(this);
        SetDoorbells(doorbells);
    }

    /// <summary>Takes no more, and waits for what is in flight.</summary>
    internal async IoTask StopAsync()
    {
        _isAccepting = false;
        await _inFlight.WaitIdleAsync();
        Publish();
        Loop.RemovePoller(this);
        _watch?.Dispose();
        _watch = null;
        if (_hasRegistered)
        {
            _queue?.Memory.UnregisterFrom(Loop.Ring);
            _hasRegistered = false;
        }

        _queue = null;
        for (; _freeCount > 0; _freeCount--)
        {
            _free[_freeCount - 1].Dispose();
        }
    }

    internal void SetDoorbells(Doorbells doorbells)
    {
        _watch?.Dispose();
        _watch = null;
        _doorbells = doorbells;
        if (doorbells.Kick is { } kick)
        {
            _kickIsStream = Doorbells.IsStream(kick);
            _watch = Loop.Ring.Watch(kick, this);
        }

        // Answers may have gone to a bell that nobody heard any more.
        Ring(doorbells.Call);
    }

    public bool Poll()
    {
        if (!_isAccepting)
        {
            return false;
        }

        Virtqueue queue = _queue!;
        int count = 0;
        long bytes = 0;
        for (; count < RequestsPerTurn && bytes < BytesPerTurn && _isAccepting; count++)
        {
            RequestSlot slot = _freeCount > 0 ? _free[--_freeCount] : new RequestSlot(this);
            PopResult result = queue.TryPop(slot.Request.Chain);
            if (result != PopResult.Popped)
            {
                _free[_freeCount++] = slot;
                if (result == PopResult.Broken)
                {
                    Break(queue.Defect!);
                }

                break;
            }

            bytes += slot.Request.Chain.ReadableLength + slot.Request.Chain.WritableLength;
            Begin(slot);
        }

        // Whoever polls the used ring gets its answers now; a call can wait for the end of the turn.
        queue.Publish();
        return count > 0;
    }

    public bool PrepareToSleep() => !_isAccepting || (_queue!.EnableKicks() && _doorbells.Kick is not null);

    public void Awake()
    {
        if (_isAccepting)
        {
            _queue!.DisableKicks();
        }
    }

    public void OnReady()
    {
        if (_kickIsStream && _doorbells.Kick is { } kick)
        {
            Doorbells.Drain(kick);
        }
    }

    public void OnEndOfTurn()
    {
        _isHooked = false;
        Publish();
    }

    /// <summary>The node has served a request that it did not serve at once.</summary>
    internal void OnServed(RequestSlot slot)
    {
        Finish(slot, Outcome(slot));
        _inFlight.Exit();
    }

    private void RegisterMemory(Virtqueue queue)
    {
        if (registersMemory)
        {
            Errno errno = queue.Memory.RegisterWith(Loop.Ring);
            _hasRegistered = errno == Errno.None;
            if (!_hasRegistered)
            {
                warn($"Queue {index}: the guest's memory could not be registered: {ErrnoException.Text(errno)}; see RLIMIT_MEMLOCK. It is served without");
            }
        }
    }

    private void Begin(RequestSlot slot)
    {
        switch (slot.Request.Parse(handler.Limits))
        {
            case BlkParseResult.Request:
                Serve(slot);
                break;
            case BlkParseResult.Answer:
                Finish(slot, slot.Request.Refusal);
                break;
            default:
                Break($"Queue {index}: chain {slot.Request.Chain.Head} has no room for a status");
                _free[_freeCount++] = slot;
                break;
        }
    }

    private void Serve(RequestSlot slot)
    {
        IoTask.StatusAwaiter outcome;
        try
        {
            outcome = handler.ServeAsync(slot.Request).Status().GetAwaiter();
        }
        catch (ErrnoException e)
        {
            Finish(slot, StatusOf(e.Errno));
            return;
        }

        slot.Outcome = outcome;
        if (outcome.IsCompleted)
        {
            Finish(slot, Outcome(slot));
        }
        else
        {
            _inFlight.Enter();
            outcome.OnCompleted(slot);
        }
    }

    private BlkStatus Outcome(RequestSlot slot)
    {
        try
        {
            return StatusOf(slot.Outcome.GetResult());
        }
        catch (Exception e)
        {
            // A failure without an error number is a defect of a driver; it must not take the other exports down.
            warn($"Queue {index}: {slot.Request.Type} failed: {e}");
            return BlkStatus.IoError;
        }
    }

    private void Finish(RequestSlot slot, BlkStatus status)
    {
        VirtioBlkRequest request = slot.Request;
        Account(request, status);
        request.WriteStatus(status);
        _queue!.PushUsed(request.Chain, request.Chain.WritableLength);
        _free[_freeCount++] = slot;
        if (!_isHooked)
        {
            _isHooked = true;
            Loop.AtEndOfTurn(this);
        }
    }

    private void Account(VirtioBlkRequest request, BlkStatus status)
    {
        _requests++;
        if (status != BlkStatus.Ok)
        {
            _errors++;
        }
        else if (request.Type == BlkRequestType.In)
        {
            _bytesRead += request.Data.Length;
        }
        else if (request.Type == BlkRequestType.Out)
        {
            _bytesWritten += request.Data.Length;
        }
    }

    private void Publish()
    {
        if (_queue is { } queue)
        {
            queue.Publish();
            if (queue.ShouldCall())
            {
                Ring(_doorbells.Call);
            }
        }
    }

    // The driver must reset a broken ring; other rings and exports go on.
    private void Break(string defect)
    {
        _isAccepting = false;
        warn($"{defect}; the queue is stopped");
        Ring(_doorbells.Error);
    }

    private static BlkStatus StatusOf(Errno errno) => errno switch
    {
        Errno.None => BlkStatus.Ok,
        Errno.EOPNOTSUPP => BlkStatus.Unsupported,
        _ => BlkStatus.IoError,
    };

    private static void Ring(FileDescriptor? bell)
    {
        if (bell is not null)
        {
            EventFd.Signal(bell.Value);
        }
    }
}
