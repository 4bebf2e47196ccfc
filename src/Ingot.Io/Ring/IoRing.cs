using Ingot.Linux;

namespace Ingot.Io;

/// <summary>
/// The seam between the loop and the kernel: file and wait operations of one loop. Used only on the loop's thread; completions resume their waiters from
/// <see cref="Drain"/>. A full ring queues; nobody above ever sees EAGAIN.
/// </summary>
public abstract unsafe class IoRing : IDisposable
{
    private const int MaxNow = 64 << 10; // longer copies are shared with the kernel's threads
    private const long MaxNowInTurn = 16 << 20; // a few milliseconds, then others have their turn

    private readonly Stack<RingOperation> _free = new();
    private RingOperation?[] _slots = new RingOperation?[64];
    private int _slotCount;
    private long _nowInTurn;

    /// <summary>"io_uring" or "threads".</summary>
    public abstract string EngineName { get; }

    /// <summary>File operations handed in and not completed; waits and watches are not counted.</summary>
    internal int InFlight { get; private protected set; }

    /// <summary>Reads the whole vector; what lies past the end of the file reads as zeroes.</summary>
    /// <param name="fd">An open file.</param>
    /// <param name="offset">Bytes from its start.</param>
    /// <param name="data">Where to put the bytes.</param>
    /// <param name="direct">True for a file opened with O_DIRECT: a short read that ends inside of a sector is the end of the file.</param>
    /// <returns>The task; fails with <see cref="ErrnoException"/>.</returns>
    public IoTask ReadAsync(FileDescriptor fd, long offset, IoVector data, bool direct = false)
    {
        RingOperation operation = Start(RingOpcode.Read, fd, offset, data.Length, 0, data);
        operation.IsDirect = direct;
        return operation.Task;
    }

    /// <summary>
    /// Reads from a file that is memory, by a plain call: the copy is cheaper than handing it over, and io_uring would give it to a thread of the
    /// kernel, since such files have no way to try without waiting.
    /// </summary>
    /// <param name="fd">A file of which <see cref="Libc.IsInMemory"/> is true.</param>
    /// <param name="offset">Bytes from its start.</param>
    /// <param name="data">Where to put the bytes.</param>
    /// <returns>False when it must be asked with <see cref="ReadAsync"/>: long, at the end of the file, failed, or enough for this turn.</returns>
    public bool TryReadNow(FileDescriptor fd, long offset, IoVector data)
    {
        if (!MayNow(data))
        {
            return false;
        }

        if (data.IsSingle)
        {
            // SAFETY: the vector's memory is its caller's until the answer.
            return Libc.pread(fd.Value, data.SinglePointer, (nuint)data.Length, offset) == data.Length;
        }

        Libc.iovec* iovecs = stackalloc Libc.iovec[data.SegmentCount];
        return Libc.preadv(fd.Value, iovecs, data.CopySegments(iovecs), offset) == data.Length;
    }

    /// <summary>Writes to a file that is memory; see <see cref="TryReadNow"/>.</summary>
    /// <param name="fd">A file of which <see cref="Libc.IsInMemory"/> is true.</param>
    /// <param name="offset">Bytes from its start.</param>
    /// <param name="data">The bytes.</param>
    /// <returns>False when it must be asked with <see cref="WriteAsync"/>.</returns>
    public bool TryWriteNow(FileDescriptor fd, long offset, IoVector data)
    {
        if (!MayNow(data))
        {
            return false;
        }

        if (data.IsSingle)
        {
            // SAFETY: the vector's memory is its caller's until the answer.
            return Libc.pwrite(fd.Value, data.SinglePointer, (nuint)data.Length, offset) == data.Length;
        }

        Libc.iovec* iovecs = stackalloc Libc.iovec[data.SegmentCount];
        return Libc.pwritev(fd.Value, iovecs, data.CopySegments(iovecs), offset) == data.Length;
    }

    /// <summary>Writes the whole vector.</summary>
    /// <param name="fd">An open file.</param>
    /// <param name="offset">Bytes from its start.</param>
    /// <param name="data">The bytes.</param>
    /// <param name="durable">True to have the data on the medium at completion (RWF_DSYNC).</param>
    /// <returns>The task; fails with <see cref="ErrnoException"/>.</returns>
    public IoTask WriteAsync(FileDescriptor fd, long offset, IoVector data, bool durable = false)
        => Start(RingOpcode.Write, fd, offset, data.Length, durable ? Libc.RWF_DSYNC : 0, data).Task;

    /// <summary>fdatasync(2).</summary>
    /// <param name="fd">An open file.</param>
    /// <returns>The task; fails with <see cref="ErrnoException"/>.</returns>
    public IoTask SyncAsync(FileDescriptor fd) => Start(RingOpcode.Sync, fd, 0, 0, 0, default).Task;

    /// <summary>fallocate(2).</summary>
    /// <param name="fd">An open file.</param>
    /// <param name="mode">FALLOC_FL_*.</param>
    /// <param name="offset">Bytes.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The task; fails with <see cref="ErrnoException"/>.</returns>
    public IoTask AllocateAsync(FileDescriptor fd, int mode, long offset, long length) => Start(RingOpcode.Allocate, fd, offset, length, mode, default).Task;

    /// <summary>Waits once until a descriptor is ready, as poll(2).</summary>
    /// <param name="fd">The descriptor.</param>
    /// <param name="events">POLLIN, POLLOUT.</param>
    /// <returns>The events that came.</returns>
    public IoTask<int> PollAsync(FileDescriptor fd, short events) => Start(RingOpcode.Poll, fd, 0, 0, events, default).ValueTask;

    /// <summary>Calls a handler each time a doorbell (an eventfd, or a stream that stands for one) is rung, until the watch is disposed.</summary>
    /// <param name="fd">The doorbell; stays open until the watch is disposed.</param>
    /// <param name="handler">Called on the loop.</param>
    /// <returns>The watch.</returns>
    public DoorbellWatch Watch(FileDescriptor fd, IReadyHandler handler)
    {
        RingOperation operation = Rent();
        operation.Opcode = RingOpcode.Watch;
        operation.Fd = fd.Value;
        operation.Flags = Libc.POLLIN;
        operation.Handler = handler;
        Enqueue(operation);
        return new DoorbellWatch(this, operation);
    }

    /// <summary>
    /// Registers memory, so that the kernel does not look up its pages for each request: they are all made, held where they are, and count against
    /// RLIMIT_MEMLOCK. Whatever takes pages away from such memory (a hole punched into its file) makes requests go to the lost pages.
    /// </summary>
    /// <param name="start">The first byte.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>Why it could not be done; requests work all the same.</returns>
    public virtual Errno RegisterMemory(byte* start, long length) => Errno.EOPNOTSUPP;

    /// <summary>Gives up what <see cref="RegisterMemory"/> took; nothing that uses it may be in flight.</summary>
    /// <param name="start">The first byte.</param>
    /// <param name="length">Bytes.</param>
    public virtual void UnregisterMemory(byte* start, long length)
    {
    }

    /// <summary>Makes the blocking wait of the loop return soon. The one member for other threads.</summary>
    public abstract void Wake();

    /// <summary>Releases the ring; nothing may be in flight but watches.</summary>
    public abstract void Dispose();

    /// <summary>Takes an operation for submission.</summary>
    internal abstract void Enqueue(RingOperation operation);

    /// <summary>Ends a poll or watch early: it completes with ECANCELED.</summary>
    internal abstract void Cancel(RingOperation operation);

    /// <summary>Submits what is queued, and waits for a completion, a wake-up or the time-out.</summary>
    /// <param name="timeoutNanoseconds">0: do not wait; negative: no limit.</param>
    internal abstract void Submit(long timeoutNanoseconds);

    /// <summary>Resumes the waiters of what has completed.</summary>
    internal abstract void Drain();

    /// <summary>What the next <see cref="Submit"/> takes to the kernel; 0 for a ring that needs none.</summary>
    internal virtual int Queued => 0;

    /// <summary>True when <see cref="Drain"/> would find something; cheap enough for a spinning loop.</summary>
    internal abstract bool HasCompletions { get; }

    /// <summary>A turn of the loop begins.</summary>
    internal void BeginTurn() => _nowInTurn = 0;

    internal RingOperation Rent()
    {
        if (_free.TryPop(out RingOperation? operation))
        {
            return operation;
        }

        if (_slotCount == _slots.Length)
        {
            Array.Resize(ref _slots, _slots.Length * 2);
        }

        operation = new RingOperation(this) { Slot = _slotCount };
        _slots[_slotCount++] = operation;
        return operation;
    }

    internal void Return(RingOperation operation) => _free.Push(operation);

    internal RingOperation AtSlot(int slot) => _slots[slot]!;

    private bool MayNow(IoVector data)
    {
        const int MaxSegments = 128;
        const int CallCost = 4096; // a call takes as long as copying that
        if (data.Length is 0 or > MaxNow || data.SegmentCount > MaxSegments)
        {
            return false;
        }

        _nowInTurn += data.Length + CallCost;
        return _nowInTurn <= MaxNowInTurn;
    }

    private RingOperation Start(RingOpcode opcode, FileDescriptor fd, long offset, long length, int flags, IoVector data)
    {
        RingOperation operation = Rent();
        operation.Opcode = opcode;
        operation.Fd = fd.Value;
        operation.File = fd;
        operation.Offset = offset;
        operation.Length = length;
        operation.Flags = flags;
        operation.Data = data;
        Enqueue(operation);
        return operation;
    }
}

/// <summary>A doorbell being watched. Dispose it on its loop, before the descriptor is closed.</summary>
public sealed class DoorbellWatch : IDisposable
{
    private readonly IoRing _ring;
    private RingOperation? _operation;

    internal DoorbellWatch(IoRing ring, RingOperation operation)
    {
        _ring = ring;
        _operation = operation;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_operation is { } operation)
        {
            _operation = null;
            operation.Handler = null;
            _ring.Cancel(operation);
        }
    }
}
