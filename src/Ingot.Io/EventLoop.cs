using System.Diagnostics;

namespace Ingot.Io;

/// <summary>
/// One thread, one ring: runs coroutines, waits for the kernel and for other threads. Everything created on a loop belongs to it, and code between
/// two awaits is atomic with regard to it. Members are for the loop's own thread unless they say otherwise.
/// </summary>
public sealed class EventLoop : IDisposable
{
    private const int SpinsBetweenYields = 64; // about two microseconds
    private const int MaxReadyRounds = 64;
    private const int MaxPostponed = 4;
    private const int FullBatch = 16;

    [ThreadStatic]
    private static EventLoop? _current;

    private readonly Mailbox _mailbox;
    private readonly TimerQueue _timers = new();
    private readonly List<ILoopPoller> _pollers = [];
    private readonly SpinWindow _idleSpin;
    private readonly SpinWindow _diskSpin;
    private List<IEndOfTurn> _endOfTurn = [];
    private List<IEndOfTurn> _endOfTurnRunning = [];
    private IoContinuation? _readyHead;
    private IoContinuation? _readyTail;
    private ThreadPoolRing? _threads;
    private Thread? _thread;
    private bool _diskWasSlow;
    private volatile bool _stopping;

    private EventLoop(string name, EventLoopOptions options)
    {
        Name = name;
        Ring = options.CreateRing(this);
        _mailbox = new Mailbox(Ring.Wake);
        _idleSpin = new SpinWindow(options.MaxPollNanoseconds, patience: 2);
        _diskSpin = new SpinWindow(options.MaxPollNanoseconds, patience: 1);
    }

    /// <summary>The loop that the calling thread runs.</summary>
    /// <exception cref="InvalidOperationException">The thread runs none.</exception>
    public static EventLoop Current => _current ?? throw new InvalidOperationException("This code must run on an event loop.");

    /// <summary>The loop that the calling thread runs, or null.</summary>
    public static EventLoop? CurrentOrNull => _current;

    /// <summary>A name for logs and thread lists.</summary>
    public string Name { get; }

    /// <summary>File and wait operations of this loop.</summary>
    public IoRing Ring { get; }

    /// <summary>The ring of blocking calls on threads, for files that ask for it (aio=threads); made at its first use.</summary>
    public IoRing ThreadRing => Ring as ThreadPoolRing ?? (_threads ??= new ThreadPoolRing(Ring.Wake));

    /// <summary>Turns that the loop has made; for tests and statistics, any thread.</summary>
    public long Turns { get; private set; }

    /// <summary>Starts a loop on a thread of its own.</summary>
    /// <param name="name">A name for logs and thread lists.</param>
    /// <param name="options">Engine and polling.</param>
    /// <returns>The running loop; dispose it to stop the thread.</returns>
    public static EventLoop Start(string name, EventLoopOptions? options = null)
    {
        // The ring must be made on the thread that uses it (IORING_SETUP_SINGLE_ISSUER).
        using var started = new ManualResetEventSlim();
        EventLoop? loop = null;
        Exception? error = null;
        var thread = new Thread(() =>
        {
            try
            {
                loop = new EventLoop(name, options ?? EventLoopOptions.Default);
            }
            catch (Exception e)
            {
                error = e;
                return;
            }
            finally
            {
                started.Set();
            }

            loop.Run(() => loop._stopping);
            loop.DisposeRings();
        })
        { IsBackground = true, Name = name };
        thread.Start();
        started.Wait();
        if (loop is null)
        {
            throw new InvalidOperationException($"The event loop '{name}' did not start.", error);
        }

        loop._thread = thread;
        return loop;
    }

    /// <summary>Runs a program's main coroutine on the calling thread until it completes.</summary>
    /// <param name="main">The program.</param>
    /// <param name="options">Engine and polling.</param>
    /// <returns>The program's exit status.</returns>
    public static int RunMain(Func<IoTask<int>> main, EventLoopOptions? options = null)
    {
        if (_current is not null)
        {
            throw new InvalidOperationException("This thread runs an event loop already.");
        }

        var loop = new EventLoop("main", options ?? EventLoopOptions.Default);
        try
        {
            _current = loop;
            IoTask<int> task = main();
            loop.Run(() => task.IsCompleted);
            return task.Consume();
        }
        finally
        {
            _current = null;
            loop.DisposeRings();
        }
    }

    /// <summary>Runs something on this loop soon. Any thread.</summary>
    /// <param name="work">Not in any other list.</param>
    /// <returns>False when the loop has ended: the work will never run.</returns>
    public bool Post(IoContinuation work) => _mailbox.Post(work);

    /// <summary>Runs a call on this loop soon. Any thread. Allocates: not for the data path.</summary>
    /// <param name="action">The call; must not throw.</param>
    public void Post(Action action) => Post(new ActionContinuation(action));

    /// <summary>Runs a coroutine on this loop for a caller outside of all loops. Any thread.</summary>
    /// <typeparam name="T">The type of the value.</typeparam>
    /// <param name="work">Starts the coroutine; called on the loop.</param>
    /// <returns>Completes on the thread pool.</returns>
    public Task<T> RunAsync<T>(Func<IoTask<T>> work)
    {
        var source = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(() => Forward(work, source).Spawn());
        return source.Task;
    }

    /// <summary>Runs a coroutine on this loop for a caller outside of all loops. Any thread.</summary>
    /// <param name="work">Starts the coroutine; called on the loop.</param>
    /// <returns>Completes on the thread pool.</returns>
    public Task RunAsync(Func<IoTask> work) => RunAsync(async () =>
    {
        await work();
        return true;
    });

    /// <summary>Puts a woken coroutine on the ready list: it runs soon, never inside of its waker.</summary>
    /// <param name="work">Not in any other list.</param>
    public void Schedule(IoContinuation work)
    {
        Debug.Assert(_current == this, "Schedule is for the loop's own thread.");
        work.Next = null;
        if (_readyTail is null)
        {
            _readyHead = work;
        }
        else
        {
            _readyTail.Next = work;
        }

        _readyTail = work;
    }

    /// <summary>Calls a hook once at the end of this turn. The caller sees to it that it asks once a turn.</summary>
    /// <param name="hook">The hook.</param>
    public void AtEndOfTurn(IEndOfTurn hook) => _endOfTurn.Add(hook);

    /// <summary>Asks a poller in every turn, and while the loop would otherwise sleep, for as long as the poll window is open.</summary>
    /// <param name="poller">The poller.</param>
    public void AddPoller(ILoopPoller poller) => _pollers.Add(poller);

    /// <summary>Ends <see cref="AddPoller"/>.</summary>
    /// <param name="poller">The poller.</param>
    public void RemovePoller(ILoopPoller poller) => _pollers.Remove(poller);

    /// <summary>Waits.</summary>
    /// <param name="delay">How long; zero gives others a turn.</param>
    /// <returns>Completes in a later turn.</returns>
    public IoTask DelayAsync(TimeSpan delay) => _timers.Add(delay);

    /// <summary>Waits until a task of the thread-pool world completes, without blocking the loop. For control paths.</summary>
    /// <typeparam name="T">The type of the value.</typeparam>
    /// <param name="task">The task.</param>
    /// <returns>Completes on this loop.</returns>
    public IoTask<T> WaitAsync<T>(Task<T> task)
    {
        var source = new IoCompletionSource<T>();
        IoTask<T> result = source.ValueTask;
        _ = task.ContinueWith(
            done => Post(() =>
            {
                if (done.IsCompletedSuccessfully)
                {
                    source.SetResult(done.Result);
                }
                else
                {
                    source.SetException(done.Exception?.InnerException ?? new OperationCanceledException());
                }
            }),
            TaskScheduler.Default);
        return result;
    }

    /// <summary>Stops the loop's thread and waits for it. Any thread but the loop's own; its work must have ended.</summary>
    public void Dispose()
    {
        _stopping = true;
        Ring.Wake();
        if (_thread != Thread.CurrentThread)
        {
            _thread?.Join();
        }
    }

    private static async IoTask Forward<T>(Func<IoTask<T>> work, TaskCompletionSource<T> source)
    {
        try
        {
            source.SetResult(await work());
        }
        catch (Exception e)
        {
            source.SetException(e);
        }
    }

    private void DisposeRings()
    {
        _threads?.Dispose();
        Ring.Dispose();
    }

    // The loop itself: what peers ask and what is ready, then what the turn left behind, then the kernel, once for all of it, then other threads, then time.
    private void Run(Func<bool> stop)
    {
        _current = this;
        int postponed = 0; // turns that found peers at work: what they ask next can go with what they asked, and often the loop sleeps in the same call
        while (true)
        {
            Turns++;
            Ring.BeginTurn();
            bool found = Poll();
            RunReady();
            RunEndOfTurn();
            if (stop())
            {
                _mailbox.Close();
                break;
            }

            if (!found && _readyHead is null)
            {
                postponed = 0;
                WaitForWork();
            }
            else if (_readyHead is not null || ++postponed == MaxPostponed || Ring.Queued >= FullBatch)
            {
                postponed = 0;
                Ring.Submit(0);
            }

            Ring.Drain();
            _threads?.Drain();
            _mailbox.Drain();
            _timers.Fire(this);
        }

        _current = null;
    }

    private void WaitForWork()
    {
        // Peers answer in their own time and disks in theirs: what is worth spinning for is learnt apart. After a slow disk, what spinning for the
        // peer saves is lost in what the disk takes, and the peer may need our processor.
        bool isDisk = Ring.InFlight + (_threads?.InFlight ?? 0) > 0;
        SpinWindow spin = isDisk ? _diskSpin : _idleSpin;
        if (_pollers.Count > 0 && spin.IsOpen && (isDisk || !_diskWasSlow))
        {
            Ring.Submit(0);
            long deadline = Stopwatch.GetTimestamp() + spin.Ticks;
            int spins = 0;
            do
            {
                if (HasWork())
                {
                    spin.Hit();
                    Ring.Submit(0);
                    return;
                }

                if (Poll())
                {
                    spin.Hit(); // what it asks of the kernel goes with what else the next turn asks
                    return;
                }

                // On a busy machine the peer that we wait for may be waiting for our processor.
                if (++spins % SpinsBetweenYields == 0)
                {
                    Thread.Yield();
                }
            }
            while (Stopwatch.GetTimestamp() < deadline);
            spin.Miss();
        }

        long started = Stopwatch.GetTimestamp();
        Ring.Submit(PrepareToSleep() ? _timers.NextNanoseconds : 0);
        foreach (ILoopPoller poller in _pollers)
        {
            poller.Awake();
        }

        _diskWasSlow = !spin.Slept(Stopwatch.GetTimestamp() - started) && isDisk;
    }

    private bool HasWork() => Ring.HasCompletions || !_mailbox.IsEmpty || (_threads?.HasCompletions ?? false);

    private bool PrepareToSleep()
    {
        bool sleep = _threads is not { HasCompletions: true };
        foreach (ILoopPoller poller in _pollers)
        {
            sleep &= poller.PrepareToSleep();
        }

        return _mailbox.PrepareToSleep() && sleep;
    }

    private bool Poll()
    {
        bool found = false;
        for (int i = 0; i < _pollers.Count; i++)
        {
            found |= _pollers[i].Poll();
        }

        return found;
    }

    // Until nothing is ready any more, so that the kernel is called once for what all of them ask; but others have their turn before long.
    private void RunReady()
    {
        for (int round = 0; round < MaxReadyRounds && _readyHead is { } work; round++)
        {
            _readyHead = _readyTail = null;
            RunAll(work);
        }
    }

    private static void RunAll(IoContinuation? work)
    {
        while (work is not null)
        {
            IoContinuation? next = work.Next;
            work.Next = null;
            work.Resume();
            work = next;
        }
    }

    private void RunEndOfTurn()
    {
        if (_endOfTurn.Count == 0)
        {
            return;
        }

        (_endOfTurn, _endOfTurnRunning) = (_endOfTurnRunning, _endOfTurn);
        foreach (IEndOfTurn hook in _endOfTurnRunning)
        {
            hook.OnEndOfTurn();
        }

        _endOfTurnRunning.Clear();
    }
}
