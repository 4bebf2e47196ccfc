using System.Runtime.InteropServices;
using Ingot.Linux;

namespace Ingot.Io;

/// <summary>What a <see cref="RingOperation"/> does; each is one system call or io_uring opcode.</summary>
internal enum RingOpcode : byte
{
    Read,
    Write,
    Sync,
    Allocate,
    Poll,
    Watch,
    Cancel,
}

/// <summary>
/// One operation in flight: the arguments, the promise of its task, and the memory that the kernel reads meanwhile. Pooled per ring.
/// Reads and writes are all or nothing: short transfers go on with the rest, and reads past the end of the file give zeroes.
/// </summary>
internal sealed unsafe class RingOperation(IoRing ring) : IoPromise<int>
{
    internal RingOpcode Opcode;
    internal int Fd;
    internal FileDescriptor? File; // for messages
    internal int Flags;
    internal long Offset;
    internal long Length;
    internal IoVector Data;
    internal IReadyHandler? Handler;
    internal IoRing Ring = ring;
    internal int Slot;
    internal bool InFlight;
    internal bool IsDirect;

    /// <summary>True for what the disk answers, false for waits that may take forever.</summary>
    internal bool IsFileOperation => Opcode < RingOpcode.Poll;

    private Libc.iovec* _iovecs;
    private int _iovecCapacity;

    /// <summary>The segments of <see cref="Data"/> as the kernel wants them; valid until the next call.</summary>
    internal Libc.iovec* PrepareIovecs(out int count)
    {
        if (Data.SegmentCount > _iovecCapacity)
        {
            _iovecCapacity = Math.Max(16, Data.SegmentCount);
            _iovecs = (Libc.iovec*)NativeMemory.Realloc(_iovecs, (nuint)(_iovecCapacity * sizeof(Libc.iovec)));
        }

        count = Data.CopySegments(_iovecs);
        return _iovecs;
    }

    /// <summary>Takes the kernel's answer: completes the promise, or asks for the rest of a short transfer.</summary>
    /// <param name="result">A count, or a negative error number.</param>
    internal void Finish(int result)
    {
        if (result < 0)
        {
            if (-result is (int)Errno.EINTR or (int)Errno.EAGAIN && Opcode is RingOpcode.Read or RingOpcode.Write)
            {
                Ring.Enqueue(this);
                return;
            }

            Fail((Errno)(-result));
        }
        else if (Opcode is RingOpcode.Read or RingOpcode.Write && result < Data.Length)
        {
            FinishShort(result);
        }
        else
        {
            Complete(result);
        }
    }

    protected override Exception Describe(Errno errno) => ErrnoException.For(errno, Opcode switch
    {
        RingOpcode.Read => $"Reading {Data.Length} bytes at offset {Offset}{OfFile} failed",
        RingOpcode.Write => $"Writing {Data.Length} bytes at offset {Offset}{OfFile} failed",
        RingOpcode.Sync => $"Flushing{OfFile} to disk failed",
        RingOpcode.Allocate => $"Allocating or punching {Length} bytes at offset {Offset}{OfFile} failed",
        _ => "Waiting failed",
    });

    private string OfFile => File?.Name is { } name ? $" of '{name}'" : "";

    protected override void Recycle()
    {
        Reset();
        Data = default;
        Handler = null;
        File = null;
        IsDirect = false;
        Ring.Return(this);
    }

    private void FinishShort(int result)
    {
        const int SectorMask = 511;
        if (result > 0 && !(IsDirect && (result & SectorMask) != 0))
        {
            Data = Data.Slice(result);
            Offset += result;
            Ring.Enqueue(this);
        }
        else if (Opcode == RingOpcode.Read)
        {
            Data.Slice(result).Clear();
            Complete(result);
        }
        else
        {
            Fail(Errno.ENOSPC);
        }
    }
}
