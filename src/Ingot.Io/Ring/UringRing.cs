using System.Runtime.InteropServices;
using Ingot.Linux;
using static Ingot.Linux.IoUringAbi;

namespace Ingot.Io;

/// <summary>io_uring as the ring of a loop: one submission and one completion queue, mapped once, one system call a turn.</summary>
internal sealed unsafe class UringRing : IoRing, IReadyHandler
{
    private const uint Entries = 256;
    private const ulong NoOperation = ulong.MaxValue;

    // What a ring asks for, best first: only its own thread submits, and is not interrupted for what completes. Not DEFER_TASKRUN, which took about 20
    // completions in a call, and a call of its own for each batch that a spinning loop sees (docs/performance.md).
    private static readonly uint[] _setups =
    [
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, // Linux 6.0
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, // 5.19
        0,
    ];

    private readonly FileDescriptor _ring;
    private readonly FixedFiles? _fixedFiles;
    private readonly FixedBuffers _fixedBuffers;
    private readonly int _enterFd;
    private readonly uint _enterFlags;
    private readonly EventFd _wakeup = new();
    private readonly byte* _queues;
    private readonly nuint _queuesSize;
    private readonly IoUringSqe* _sqes;
    private readonly uint* _sqHead, _sqTail, _sqFlags, _cqHead, _cqTail;
    private readonly uint _sqMask, _sqEntries, _cqMask;
    private readonly IoUringCqe* _cqes;
    private readonly Libc.timespec* _timeout;
    private readonly IoUringGetEventsArg* _waitArgument;
    private readonly Queue<RingOperation> _backlog = new();
    private uint _localTail;
    private uint _submitted;

    private UringRing(EventLoop loop, FileDescriptor ring, in IoUringParams p, bool register)
    {
        _ring = ring;
        _fixedBuffers = new FixedBuffers(ring.Value);
        _fixedFiles = register ? FixedFiles.TryCreate(loop, ring.Value) : null;
        (_enterFd, _enterFlags) = register && TryRegister(out uint place) ? ((int)place, IORING_ENTER_REGISTERED_RING) : (ring.Value, 0);
        _queuesSize = Math.Max(p.SqOffsets.Array + (p.SqEntries * sizeof(uint)), p.CqOffsets.Cqes + (p.CqEntries * (uint)sizeof(IoUringCqe)));
        _queues = Map(_queuesSize, IORING_OFF_SQ_RING);
        _sqes = (IoUringSqe*)Map(p.SqEntries * (nuint)sizeof(IoUringSqe), IORING_OFF_SQES);
        _sqHead = (uint*)(_queues + p.SqOffsets.Head);
        _sqTail = (uint*)(_queues + p.SqOffsets.Tail);
        _sqFlags = (uint*)(_queues + p.SqOffsets.Flags);
        _sqMask = *(uint*)(_queues + p.SqOffsets.RingMask);
        _sqEntries = p.SqEntries;
        _cqHead = (uint*)(_queues + p.CqOffsets.Head);
        _cqTail = (uint*)(_queues + p.CqOffsets.Tail);
        _cqMask = *(uint*)(_queues + p.CqOffsets.RingMask);
        _cqes = (IoUringCqe*)(_queues + p.CqOffsets.Cqes);
        var array = (uint*)(_queues + p.SqOffsets.Array);
        for (uint i = 0; i < p.SqEntries; i++)
        {
            array[i] = i;
        }

        _timeout = (Libc.timespec*)NativeMemory.AllocZeroed((nuint)(sizeof(Libc.timespec) + sizeof(IoUringGetEventsArg)));
        _waitArgument = (IoUringGetEventsArg*)(_timeout + 1);
        Watch(_wakeup.Descriptor, this);
    }

    public override string EngineName => "io_uring";

    internal override bool HasCompletions => *_cqHead != Volatile.Read(ref *_cqTail) || (Volatile.Read(ref *_sqFlags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;

    /// <summary>System calls name the ring by its place in the thread's table; for tests.</summary>
    internal bool IsRegistered => _enterFlags != 0;

    /// <summary>Files in the ring's table; for tests.</summary>
    internal int FixedFileCount => _fixedFiles?.Count ?? 0;

    /// <summary>Bytes of memory that are registered; for tests.</summary>
    internal long FixedMemory => _fixedBuffers.Length;

    internal override int Queued => (int)(_localTail - _submitted) + _backlog.Count;

    /// <summary>Makes a ring, or gives null where the kernel does not have or allow io_uring with what Ingot needs (Linux 5.13).</summary>
    /// <param name="loop">Whose thread this is.</param>
    /// <param name="downgrade">How many of the better ways are left out.</param>
    public static UringRing? TryCreate(EventLoop loop, int downgrade = 0)
    {
        const uint needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS;
        for (int i = Math.Min(downgrade, _setups.Length - 1); i < _setups.Length; i++)
        {
            var p = new IoUringParams { Flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | _setups[i], CqEntries = 4 * Entries };

            // SAFETY: the kernel fills the structure during the call.
            int fd = Libc.io_uring_setup(Entries, &p);
            if (fd < 0)
            {
                continue;
            }

            var owner = new FileDescriptor(fd);
            if ((p.Features & needed) == needed)
            {
                return new UringRing(loop, owner, p, register: downgrade < _setups.Length - 1);
            }

            owner.Dispose();
            return null;
        }

        return null;
    }

    public override Errno RegisterMemory(byte* start, long length) => _fixedBuffers.Add(start, length);

    public override void UnregisterMemory(byte* start, long length) => _fixedBuffers.Remove(start, length);

    public override void Wake() => _wakeup.Signal();

    /// <summary>The wake-up doorbell itself: its only work is to end the wait.</summary>
    public void OnReady()
    {
    }

    public override void Dispose()
    {
        if (IsRegistered)
        {
            // The thread may outlive its loop, and its table would keep the ring.
            var update = new IoUringResourceUpdate { Offset = (uint)_enterFd };
            _ = Libc.io_uring_register(_ring.Value, IORING_UNREGISTER_RING_FDS, &update, 1);
        }

        _ring.Dispose();
        _wakeup.Dispose();
        _ = Libc.munmap(_queues, _queuesSize);
        _ = Libc.munmap(_sqes, _sqEntries * (nuint)sizeof(IoUringSqe));
        NativeMemory.Free(_timeout);
    }

    internal override void Enqueue(RingOperation operation)
    {
        InFlight += operation.IsFileOperation ? 1 : 0;
        operation.InFlight = true;
        IoUringSqe* sqe = _backlog.Count == 0 ? TryGetSqe() : null;
        if (sqe == null)
        {
            _backlog.Enqueue(operation);
        }
        else
        {
            Fill(sqe, operation);
        }
    }

    internal override void Cancel(RingOperation operation)
    {
        if (!operation.InFlight)
        {
            return;
        }

        IoUringSqe* sqe;
        while ((sqe = TryGetSqe()) == null)
        {
            Submit(0);
        }

        *sqe = default;
        sqe->Opcode = IORING_OP_ASYNC_CANCEL;
        sqe->Fd = -1;
        sqe->Address = (ulong)operation.Slot;
        sqe->UserData = NoOperation;
    }

    internal override void Submit(long timeoutNanoseconds)
    {
        do
        {
            while (_backlog.Count > 0 && TryGetSqe() is var sqe && sqe != null)
            {
                Fill(sqe, _backlog.Dequeue());
            }

            Volatile.Write(ref *_sqTail, _localTail);
            Enter(_backlog.Count > 0 ? 0 : timeoutNanoseconds);
        }
        while (_backlog.Count > 0 && !HasCompletions);
    }

    internal override void Drain()
    {
        uint head = *_cqHead;
        uint tail = Volatile.Read(ref *_cqTail);
        if (head == tail)
        {
            return;
        }

        // A budget of what is there now: completions that these waiters cause belong to the next turn.
        while (head != tail)
        {
            IoUringCqe cqe = _cqes[head & _cqMask];
            Volatile.Write(ref *_cqHead, ++head);
            if (cqe.UserData != NoOperation)
            {
                Finish(AtSlot((int)cqe.UserData), cqe);
            }
        }
    }

    private void Finish(RingOperation operation, in IoUringCqe cqe)
    {
        if (operation.Opcode != RingOpcode.Watch)
        {
            InFlight -= operation.IsFileOperation ? 1 : 0;
            operation.InFlight = false;
            operation.Finish(cqe.Result);
            return;
        }

        IReadyHandler? handler = operation.Handler;
        if ((cqe.Flags & IORING_CQE_F_MORE) == 0)
        {
            operation.InFlight = false;
            if (handler is null || cqe.Result < 0)
            {
                Return(operation);
                return;
            }

            Enqueue(operation);
        }

        handler?.OnReady();
    }

    private void Enter(long timeoutNanoseconds)
    {
        uint toSubmit = _localTail - _submitted;
        bool wait = timeoutNanoseconds != 0 && !HasCompletions;
        bool runTasks = (Volatile.Read(ref *_sqFlags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
        if (toSubmit == 0 && !wait && !runTasks)
        {
            return;
        }

        uint flags = _enterFlags | (wait || runTasks ? IORING_ENTER_GETEVENTS : 0);
        void* argument = null;
        nuint size = 0;
        if (wait && timeoutNanoseconds > 0)
        {
            flags |= IORING_ENTER_EXT_ARG;
            *_timeout = new Libc.timespec { tv_sec = timeoutNanoseconds / 1_000_000_000, tv_nsec = timeoutNanoseconds % 1_000_000_000 };
            *_waitArgument = new IoUringGetEventsArg { Timespec = (ulong)_timeout };
            argument = _waitArgument;
            size = (nuint)sizeof(IoUringGetEventsArg);
        }

        int result = Libc.io_uring_enter(_enterFd, toSubmit, wait ? 1u : 0, flags, argument, size);
        if (result >= 0)
        {
            _submitted += (uint)result;
            return;
        }

        var errno = (Errno)Marshal.GetLastPInvokeError();
        _submitted = *_sqHead; // what the kernel took before it failed or was interrupted
        const int ETIME = 62;
        if (errno is not (Errno.EINTR or Errno.EAGAIN or Errno.EBUSY) && (int)errno != ETIME)
        {
            throw ErrnoException.For(errno, "io_uring_enter failed");
        }
    }

    private IoUringSqe* TryGetSqe()
        => _localTail - Volatile.Read(ref *_sqHead) >= _sqEntries ? null : &_sqes[_localTail++ & _sqMask];

    private bool TryRegister(out uint place)
    {
        var update = new IoUringResourceUpdate { Offset = uint.MaxValue, Data = (ulong)_ring.Value };

        // SAFETY: the kernel reads the structure and writes the place into it during the call.
        bool done = Libc.io_uring_register(_ring.Value, IORING_REGISTER_RING_FDS, &update, 1) == 1;
        place = update.Offset;
        return done;
    }

    private void Fill(IoUringSqe* sqe, RingOperation operation)
    {
        *sqe = default;
        sqe->Fd = operation.Fd;
        sqe->Flags = operation.IsFileOperation && _fixedFiles is { } files && files.Use(operation.File!, operation.Fd) ? IOSQE_FIXED_FILE : (byte)0;
        sqe->UserData = (ulong)operation.Slot;
        switch (operation.Opcode)
        {
            case RingOpcode.Read or RingOpcode.Write:
                FillTransfer(sqe, operation);
                break;
            case RingOpcode.Sync:
                sqe->Opcode = IORING_OP_FSYNC;
                sqe->OperationFlags = IORING_FSYNC_DATASYNC;
                break;
            case RingOpcode.Allocate:
                sqe->Opcode = IORING_OP_FALLOCATE;
                sqe->Offset = (ulong)operation.Offset;
                sqe->Address = (ulong)operation.Length;
                sqe->Length = (uint)operation.Flags;
                break;
            case RingOpcode.Poll or RingOpcode.Watch:
                sqe->Opcode = IORING_OP_POLL_ADD;
                sqe->OperationFlags = (uint)operation.Flags;
                sqe->Length = operation.Opcode == RingOpcode.Watch ? IORING_POLL_ADD_MULTI : 0;
                break;
        }
    }

    private void FillTransfer(IoUringSqe* sqe, RingOperation operation)
    {
        const long MaxInline = 4 << 20;
        const long MaxTransfer = 1L << 30; // a longer transfer comes back short and goes on with the rest
        bool read = operation.Opcode == RingOpcode.Read;
        sqe->Offset = (ulong)operation.Offset;
        sqe->OperationFlags = (uint)operation.Flags;

        // What lies in the page cache is copied while it is submitted: a long copy is the business of a kernel thread, the loop has others to serve.
        sqe->Flags |= operation.Data.Length > MaxInline ? IOSQE_ASYNC : (byte)0;
        if (operation.Data.IsSingle)
        {
            sqe->Opcode = read ? IORING_OP_READ : IORING_OP_WRITE;
            sqe->Address = (ulong)operation.Data.SinglePointer;
            sqe->Length = (uint)Math.Min(operation.Data.Length, MaxTransfer);
            if (_fixedBuffers.Length > 0 && _fixedBuffers.TryFind(operation.Data.SinglePointer, sqe->Length, out ushort place))
            {
                sqe->Opcode = read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
                sqe->BufferIndex = place;
            }
        }
        else
        {
            const int MaxSegments = 1024; // IOV_MAX
            sqe->Opcode = read ? IORING_OP_READV : IORING_OP_WRITEV;
            sqe->Address = (ulong)operation.PrepareIovecs(out int count);
            sqe->Length = (uint)Math.Min(count, MaxSegments);
        }
    }

    private byte* Map(nuint size, ulong offset)
    {
        void* address = Libc.mmap(null, size, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED | Libc.MAP_POPULATE, _ring.Value, (long)offset);
        return (nint)address != -1 ? (byte*)address : throw ErrnoException.ForLastError("Could not map the io_uring queues");
    }
}
