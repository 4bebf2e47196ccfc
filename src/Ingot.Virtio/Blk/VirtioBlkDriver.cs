using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Virtio.Blk;

/// <summary>
/// The driver of a virtio block device whose rings lie in shared memory: queues requests, publishes them once a turn, and takes completions by polling
/// while the loop is awake and by its call doorbell while it sleeps. A request that finds no slot or no bounce memory waits its turn.
/// A device that breaks the rules of the ring, and one that goes away, fail everything in flight and everything after.
/// </summary>
public sealed class VirtioBlkDriver : ILoopPoller, IEndOfTurn, IReadyHandler, IDisposable
{
    private readonly VirtioBlkQueue[] _queues;
    private readonly EventFd _call = new();
    private readonly VirtioBlkDriverMemory _memory;
    private readonly Queue<VirtioBlkOperation> _waiting = new();
    private readonly Stack<VirtioBlkOperation> _pool = new();
    private readonly InFlightCounter _requests = new();
    private readonly InFlightCounter _changes = new();
    private ErrnoException? _failure;
    private EventLoop? _loop;
    private DoorbellWatch? _watch;
    private bool _publishPending;
    private bool _callsEnabled;
    private bool _paused;

    /// <summary>Lays out memory and queues; nothing runs yet.</summary>
    /// <param name="options">What was negotiated.</param>
    public VirtioBlkDriver(VirtioBlkDriverOptions options)
    {
        Peer = options.Peer;
        _memory = new VirtioBlkDriverMemory(options);
        _queues = [.. Enumerable.Range(0, options.QueueCount).Select(i => new VirtioBlkQueue(i, _memory, options))];
        Queues = [.. _queues.Select(queue => queue.Ring)];
        MaxRequest = (int)Math.Min(
            Math.Min((long)options.MaxSegmentSize * _queues[0].MaxSegments, VirtioBlkDriverOptions.DefaultMaxRequest),
            (long)options.BouncePages * PageAllocator.PageSize);
    }

    /// <summary>What the device is called in messages.</summary>
    public string Peer { get; }

    /// <summary>The largest request in bytes.</summary>
    public int MaxRequest { get; }

    /// <summary>The region that rings and bounce memory lie in: the device must be able to map it before <see cref="Start"/>.</summary>
    public SharedMemoryRegion Memory => _memory.Region;

    /// <summary>The queues, to tell the device where they lie.</summary>
    public IReadOnlyList<DriverQueue> Queues { get; }

    /// <summary>The doorbell that the device rings, for all queues.</summary>
    public FileDescriptor Call => _call.Descriptor;

    /// <summary>Why nothing works any more, or null.</summary>
    public ErrnoException? Failure => _failure;

    /// <summary>Called once, on the loop, when the driver fails.</summary>
    public Action<ErrnoException>? OnFailure { get; set; }

    /// <summary>The doorbell that the device listens to for a queue.</summary>
    /// <param name="queue">Its index.</param>
    /// <returns>The descriptor.</returns>
    public FileDescriptor Kick(int queue) => _queues[queue].Kick;

    /// <summary>Lets requests run, on the calling loop.</summary>
    public void Start()
    {
        _loop = EventLoop.Current;
        _loop.AddPoller(this);
        _watch = _loop.Ring.Watch(_call.Descriptor, this);
    }

    /// <summary>Tells the driver of a region that the device can map, so that data within it is not copied.</summary>
    /// <param name="region">Stays alive until <see cref="Unregister"/> or the driver's end.</param>
    public void Register(SharedMemoryRegion region) => _memory.Register(region);

    /// <summary>Ends <see cref="Register"/> for later requests.</summary>
    /// <param name="region">The region.</param>
    public void Unregister(SharedMemoryRegion region) => _memory.Unregister(region);

    /// <summary>Reads.</summary>
    /// <param name="sector">The first sector of 512 bytes.</param>
    /// <param name="data">Whole logical blocks, at most <see cref="MaxRequest"/>.</param>
    /// <returns>The task.</returns>
    public IoTask ReadAsync(ulong sector, IoVector data) => Submit(BlkRequestType.In, sector, data);

    /// <summary>Writes.</summary>
    /// <param name="sector">The first sector of 512 bytes.</param>
    /// <param name="data">Whole logical blocks, at most <see cref="MaxRequest"/>.</param>
    /// <returns>The task.</returns>
    public IoTask WriteAsync(ulong sector, IoVector data) => Submit(BlkRequestType.Out, sector, data);

    /// <summary>Makes completed writes durable.</summary>
    /// <returns>The task.</returns>
    public IoTask FlushAsync() => Submit(BlkRequestType.Flush, 0, default);

    /// <summary>Discards.</summary>
    /// <param name="sector">The first sector of 512 bytes.</param>
    /// <param name="count">Sectors.</param>
    /// <returns>The task.</returns>
    public IoTask DiscardAsync(ulong sector, uint count) => Submit(BlkRequestType.Discard, sector, default, count);

    /// <summary>Writes zeroes.</summary>
    /// <param name="sector">The first sector of 512 bytes.</param>
    /// <param name="count">Sectors.</param>
    /// <param name="mayUnmap">True when the space may be given back.</param>
    /// <returns>The task.</returns>
    public IoTask WriteZeroesAsync(ulong sector, uint count, bool mayUnmap) => Submit(BlkRequestType.WriteZeroes, sector, default, count, mayUnmap ? BlkRange.Unmap : 0);

    /// <summary>Reads the serial number.</summary>
    /// <param name="data"><see cref="VirtioBlkConfig.SerialSize"/> bytes.</param>
    /// <returns>The task.</returns>
    public IoTask GetIdAsync(IoVector data) => Submit(BlkRequestType.GetId, 0, data);

    /// <summary>Waits until no request that changes data is in flight or waiting.</summary>
    /// <returns>The task; one waiter at a time.</returns>
    public IoTask WaitChangesIdleAsync() => _changes.WaitIdleAsync();

    /// <summary>Holds new requests back and waits until the device has none.</summary>
    /// <returns>The task; <see cref="Resume"/> ends the pause.</returns>
    public IoTask PauseAsync()
    {
        _paused = true;
        return _requests.WaitIdleAsync();
    }

    /// <summary>Ends <see cref="PauseAsync"/>.</summary>
    public void Resume()
    {
        _paused = false;
        StartWaiting();
    }

    /// <summary>Fails everything in flight and everything from here on.</summary>
    /// <param name="error">Thrown at the callers.</param>
    public void Fail(ErrnoException error)
    {
        if (_failure is not null)
        {
            return;
        }

        _failure = error;
        var ended = new List<VirtioBlkOperation>();
        foreach (VirtioBlkQueue queue in _queues)
        {
            queue.Abandon(ended);
        }

        ended.ForEach(_ => _requests.Exit());
        ended.AddRange(_waiting);
        _waiting.Clear();
        OnFailure?.Invoke(error);
        foreach (VirtioBlkOperation operation in ended)
        {
            // Its bounce pages stay taken: the device may still write to them.
            operation.BouncePage = -1;
            Leave(operation);
            operation.Abort(error);
        }
    }

    /// <inheritdoc/>
    public bool Poll()
    {
        bool found = false;
        if (_failure is not null)
        {
            return false;
        }

        try
        {
            // A waiter that is resumed here may close the driver, and with it the memory.
            for (int q = 0; q < _queues.Length && _failure is null; q++)
            {
                if (_queues[q].Ring.InFlight > 0)
                {
                    found |= TakeUsed(_queues[q]);
                }
            }
        }
        catch (ErrnoException e)
        {
            Fail(new ErrnoException(e.Errno, $"{Peer}: {e.Message}", e));
            return true;
        }

        if (found && _waiting.Count > 0 && _failure is null)
        {
            StartWaiting();
        }

        return found;
    }

    /// <inheritdoc/>
    public bool PrepareToSleep()
    {
        if (_failure is not null)
        {
            return true;
        }

        bool idle = true;
        foreach (VirtioBlkQueue queue in _queues)
        {
            if (queue.Ring.InFlight > 0)
            {
                _callsEnabled = true;
                idle &= queue.Ring.EnableCalls();
            }
        }

        return idle;
    }

    /// <inheritdoc/>
    public void Awake()
    {
        if (_callsEnabled && _failure is null)
        {
            _callsEnabled = false;
            foreach (VirtioBlkQueue queue in _queues)
            {
                queue.Ring.DisableCalls();
            }
        }
    }

    /// <inheritdoc/>
    public void OnReady() => Poll();

    /// <inheritdoc/>
    public void OnEndOfTurn()
    {
        _publishPending = false;
        if (_failure is not null)
        {
            return;
        }

        foreach (VirtioBlkQueue queue in _queues)
        {
            queue.Ring.Publish();
        }
    }

    /// <summary>Ends polling and frees the memory. Fails what is in flight; nobody may use the driver afterwards.</summary>
    public void Dispose()
    {
        Fail(new ErrnoException(Errno.ENOTCONN, $"{Peer} was closed"));
        _loop?.RemovePoller(this);
        _watch?.Dispose();
        _call.Dispose();
        Array.ForEach(_queues, queue => queue.Dispose());

        _memory.Dispose();
    }

    internal void Recycle(VirtioBlkOperation operation) => _pool.Push(operation);

    private IoTask Submit(BlkRequestType type, ulong sector, IoVector data, uint rangeSectors = 0, uint rangeFlags = 0)
    {
        if (_failure is not null)
        {
            return IoTask.FromException(_failure);
        }

        ArgumentOutOfRangeException.ThrowIfGreaterThan(data.Length, MaxRequest);
        VirtioBlkOperation operation = _pool.TryPop(out VirtioBlkOperation? pooled) ? pooled : new VirtioBlkOperation(this);
        operation.Type = type;
        operation.Sector = sector;
        operation.Data = data;
        operation.RangeSectors = rangeSectors;
        operation.RangeFlags = rangeFlags;
        IoTask task = operation.Task;
        if (operation.ChangesData)
        {
            _changes.Enter();
        }

        if (_waiting.Count > 0 || _paused || !TryStart(operation))
        {
            _waiting.Enqueue(operation);
        }

        return task;
    }

    private void StartWaiting()
    {
        while (!_paused && _waiting.TryPeek(out VirtioBlkOperation? operation) && TryStart(operation))
        {
            _waiting.Dequeue();
        }
    }

    private bool TryStart(VirtioBlkOperation operation)
    {
        if (!_queues[LeastBusyQueue()].TryStart(operation))
        {
            return false;
        }

        _requests.Enter();
        PublishAtEndOfTurn();
        return true;
    }

    // The lowest of the least busy: a shallow queue stays on one, whose server thread is then awake.
    private int LeastBusyQueue()
    {
        int best = 0;
        for (int q = 1; q < _queues.Length && _queues[best].Ring.InFlight > 0; q++)
        {
            if (_queues[q].Ring.InFlight < _queues[best].Ring.InFlight)
            {
                best = q;
            }
        }

        return best;
    }

    private void PublishAtEndOfTurn()
    {
        if (!_publishPending)
        {
            _publishPending = true;
            EventLoop.Current.AtEndOfTurn(this);
        }
    }

    private bool TakeUsed(VirtioBlkQueue queue)
    {
        bool found = false;
        while (_failure is null && queue.TryTake(out BlkStatus status) is { } operation)
        {
            found = true;
            _requests.Exit();
            Leave(operation);
            operation.Finish(status);
        }

        return found;
    }

    private void Leave(VirtioBlkOperation operation)
    {
        if (operation.ChangesData)
        {
            _changes.Exit();
        }
    }
}
