using System.Runtime.InteropServices;
using Ingot.Linux;
using static Ingot.Linux.IoUringAbi;

namespace Ingot.Io;

/// <summary>
/// Memory that a ring has registered: its pages stay where they are, so that the kernel need not find and hold them for each request. What was
/// registered several times goes when its last user gives it up.
/// </summary>
/// <param name="ring">The ring's descriptor.</param>
internal sealed unsafe class FixedBuffers(int ring)
{
    private const int Places = 128;
    private const long MaxPiece = 1 << 30; // what the kernel takes as one buffer

    private readonly List<Piece> _pieces = [];
    private bool _hasTable;
    private int _hint;

    /// <summary>Bytes registered now.</summary>
    internal long Length { get; private set; }

    /// <summary>Registers a range. It has no effect when it fails.</summary>
    internal Errno Add(byte* start, long length)
    {
        for (long done = 0; done < length; done += MaxPiece)
        {
            Errno errno = AddPiece(start + done, Math.Min(MaxPiece, length - done));
            if (errno != Errno.None)
            {
                Remove(start, done);
                return errno;
            }
        }

        return Errno.None;
    }

    /// <summary>Gives a range up that <see cref="Add"/> took. Nothing that uses it may be in flight.</summary>
    internal void Remove(byte* start, long length)
    {
        for (long done = 0; done < length; done += MaxPiece)
        {
            int at = Find((nint)(start + done));
            if (at >= 0 && --CollectionsMarshal.AsSpan(_pieces)[at].Users == 0)
            {
                Length -= _pieces[at].Length;
                Put(_pieces[at].Place, null, 0);
                _pieces.RemoveAt(at);
                _hint = 0;
            }
        }
    }

    /// <summary>Finds the place of the registered range that has all of a buffer.</summary>
    internal bool TryFind(byte* start, long length, out ushort place)
    {
        ReadOnlySpan<Piece> pieces = CollectionsMarshal.AsSpan(_pieces);
        for (int i = 0, at = _hint; i < pieces.Length; i++, at = at + 1 < pieces.Length ? at + 1 : 0)
        {
            ulong offset = (ulong)(start - (byte*)pieces[at].Start);
            if (offset < (ulong)pieces[at].Length && (ulong)length <= (ulong)pieces[at].Length - offset)
            {
                _hint = at;
                place = pieces[at].Place;
                return true;
            }
        }

        place = 0;
        return false;
    }

    private Errno AddPiece(byte* start, long length)
    {
        int at = Find((nint)start);
        if (at >= 0)
        {
            if (_pieces[at].Length != length)
            {
                return Errno.EEXIST;
            }

            CollectionsMarshal.AsSpan(_pieces)[at].Users++;
            return Errno.None;
        }

        if (!HasTable())
        {
            return Errno.EOPNOTSUPP;
        }

        ushort place = 0;
        while (_pieces.Exists(p => p.Place == place))
        {
            place++;
        }

        Errno errno = place < Places ? Put(place, start, length) : Errno.ENOSPC;
        if (errno == Errno.None)
        {
            _pieces.Add(new Piece { Start = (nint)start, Length = length, Place = place, Users = 1 });
            Length += length;
        }

        return errno;
    }

    private int Find(nint start) => _pieces.FindIndex(p => p.Start == start);

    private bool HasTable()
    {
        if (!_hasTable)
        {
            var table = new IoUringResourceRegister { Count = Places, Flags = IORING_RSRC_REGISTER_SPARSE };

            // SAFETY: the kernel reads the structure during the call.
            _hasTable = Libc.io_uring_register(ring, IORING_REGISTER_BUFFERS2, &table, (uint)sizeof(IoUringResourceRegister)) >= 0;
        }

        return _hasTable;
    }

    private Errno Put(ushort place, byte* start, long length)
    {
        var buffer = new Libc.iovec { iov_base = start, iov_len = (nuint)length };
        var update = new IoUringResourceUpdate2 { Offset = place, Data = (ulong)&buffer, Count = 1 };

        // SAFETY: the kernel reads both structures during the call, and refuses memory that is none.
        return Libc.io_uring_register(ring, IORING_REGISTER_BUFFERS_UPDATE, &update, (uint)sizeof(IoUringResourceUpdate2)) == 1
            ? Errno.None
            : (Errno)Marshal.GetLastPInvokeError();
    }

    private struct Piece
    {
        internal nint Start;
        internal long Length;
        internal ushort Place;
        internal int Users;
    }
}
