using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Ingot.Linux;

/// <summary>
/// Keeps the process alive when a peer shrinks a file that it shares with us. Touching what is missing raises SIGBUS; for registered mappings the
/// handler puts zero pages in the mapping's place and counts the loss, for everything else it calls whoever handled the signal before.
/// The handler is machine code, because a signal may stop a thread where no managed code can run: it walks a table in unmanaged memory, makes one
/// system call, and returns to the faulting instruction. On other machines than x86-64 the guard does nothing.
/// </summary>
public static unsafe class SharedMemoryGuard
{
    private const int Capacity = 4096;
    private const int SIGBUS = 7;

    private static readonly Lock Gate = new();
    private static Range* _table;
    private static long* _losses;

    /// <summary>Mappings that were replaced by zeroes since the process started.</summary>
    public static long Losses
    {
        get
        {
            long* losses = _losses;
            return losses == null ? 0 : Volatile.Read(ref *losses);
        }
    }

    /// <summary>Whether a guarded mapping was replaced by zeroes.</summary>
    /// <param name="start">Its first byte.</param>
    /// <returns>True when it was.</returns>
    public static bool IsLost(void* start)
    {
        lock (Gate)
        {
            int index = Find(start);
            return index >= 0 && Volatile.Read(ref _table[index].Losses) > 0;
        }
    }

    /// <summary>Guards a mapping until <see cref="Remove"/>.</summary>
    /// <param name="start">Its first byte.</param>
    /// <param name="length">Its length.</param>
    public static void Add(void* start, nuint length)
    {
        lock (Gate)
        {
            if (_table == null && !TryInstall())
            {
                return;
            }

            for (int i = 0; i < Capacity; i++)
            {
                // SAFETY: the handler may walk the table meanwhile: an entry grows from nothing to its range by the store of its end.
                if (_table[i].End is 0 or Range.Free)
                {
                    _table[i].Losses = 0;
                    Volatile.Write(ref _table[i].Start, (ulong)start);
                    Volatile.Write(ref _table[i].End, (ulong)start + length);
                    return;
                }
            }
        }
    }

    /// <summary>Ends <see cref="Add"/>; call it before the mapping goes.</summary>
    /// <param name="start">Its first byte.</param>
    public static void Remove(void* start)
    {
        lock (Gate)
        {
            int index = Find(start);
            if (index >= 0)
            {
                Volatile.Write(ref _table[index].End, Range.Free);
            }
        }
    }

    private static int Find(void* start)
    {
        for (int i = 0; _table != null && i < Capacity && _table[i].End != 0; i++)
        {
            if (_table[i].Start == (ulong)start && _table[i].End != Range.Free)
            {
                return i;
            }
        }

        return -1;
    }

    private static bool TryInstall()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return false;
        }

        nuint tableSize = (nuint)(Capacity + 4) * (nuint)sizeof(Range);
        void* table = Libc.mmap(null, tableSize, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        void* code = Libc.mmap(null, (nuint)Handler.Length, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        Libc.sigaction_t old;
        if ((nint)table == -1 || (nint)code == -1 || Libc.sigaction(SIGBUS, null, &old) != 0)
        {
            return false;
        }

        // SAFETY: behind the table, whose last entry always has an end of 0, lie the counter and the kernel's struct sigaction of zeroes (SIG_DFL).
        var end = (Range*)table + Capacity + 1;
        var bytes = new Span<byte>(code, Handler.Length);
        Handler.CopyTo(bytes);
        Unsafe.WriteUnaligned(ref bytes[TableAt], (ulong)table);
        Unsafe.WriteUnaligned(ref bytes[CounterAt], (ulong)end);
        Unsafe.WriteUnaligned(ref bytes[OldHandlerAt], (ulong)old.handler);
        Unsafe.WriteUnaligned(ref bytes[DefaultAt], (ulong)(end + 1));
        if (Libc.mprotect(code, (nuint)Handler.Length, Libc.PROT_READ | Libc.PROT_EXEC) != 0)
        {
            return false;
        }

        var action = new Libc.sigaction_t { handler = code, flags = Libc.SA_SIGINFO | Libc.SA_ONSTACK | Libc.SA_RESTART };
        if (Libc.sigaction(SIGBUS, &action, null) != 0)
        {
            return false;
        }

        _losses = (long*)end;
        _table = (Range*)table;
        return true;
    }

    private const int TableAt = 17, CounterAt = 93, OldHandlerAt = 121, DefaultAt = 143;

    // In: rsi = siginfo. If si_code is BUS_ADRERR and si_addr lies within a table entry:
    //   mmap(start, end - start, READ|WRITE, PRIVATE|FIXED|ANONYMOUS|NORESERVE, -1, 0); ++entry->Losses; ++*counter; return.
    // Otherwise: jump to the old handler, or rt_sigaction(SIGBUS, SIG_DFL) when there was none, so that the fault strikes again.
    private static ReadOnlySpan<byte> Handler =>
    [
        0x57, 0x56, 0x52, 0x8b, 0x4e, 0x08, 0x83, 0xf9, 0x02, 0x75, 0x69, 0x48, 0x8b, 0x46, 0x10, 0x49, 0xba, 0x11, 0x11, 0x11,
        0x11, 0x11, 0x11, 0x11, 0x11, 0x49, 0x8b, 0x3a, 0x49, 0x8b, 0x72, 0x08, 0x49, 0x83, 0xc2, 0x18, 0x48, 0x85, 0xf6, 0x74,
        0x4b, 0x48, 0x39, 0xf8, 0x72, 0xeb, 0x48, 0x39, 0xf0, 0x73, 0xe6, 0x48, 0x29, 0xfe, 0x41, 0x52, 0xba, 0x03, 0x00, 0x00,
        0x00, 0x41, 0xba, 0x32, 0x40, 0x00, 0x00, 0x49, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0x45, 0x31, 0xc9, 0xb8, 0x09, 0x00,
        0x00, 0x00, 0x0f, 0x05, 0x48, 0x85, 0xc0, 0x78, 0x19, 0x41, 0x5b, 0x48, 0xb9, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
        0x22, 0xf0, 0x49, 0xff, 0x43, 0xf8, 0xf0, 0x48, 0xff, 0x01, 0x5a, 0x5e, 0x5f, 0xc3, 0x41, 0x5b, 0x5a, 0x5e, 0x5f, 0x48,
        0xb8, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x48, 0x85, 0xc0, 0x74, 0x02, 0xff, 0xe0, 0xbf, 0x07, 0x00, 0x00,
        0x00, 0x48, 0xbe, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x31, 0xd2, 0x41, 0xba, 0x08, 0x00, 0x00, 0x00, 0xb8,
        0x0d, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xc3,
    ];

    private struct Range
    {
        internal const ulong Free = 1; // below every address

        internal ulong Start;
        internal ulong End;
        internal ulong Losses;
    }
}
