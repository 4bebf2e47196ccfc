using System.Runtime.CompilerServices;

namespace Ingot.Rings.Memory;

/// <summary>
/// Memory that both sides map, each where it likes: what one side writes for the other are offsets, so this is what guest-physical addresses are to a device.
/// </summary>
/// <param name="start">The first byte in this process.</param>
/// <param name="length">Bytes.</param>
public readonly unsafe struct SharedWindow(byte* start, long length)
{
    private const int LineBytes = 64;

    private readonly byte* _start = start;

    /// <summary>Bytes.</summary>
    public ulong Length { get; } = (ulong)length;

    /// <summary>A part of it, for a queue pair of its own.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="bytes">How many.</param>
    /// <returns>The part, with offsets of its own.</returns>
    public SharedWindow Slice(long offset, long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)offset, Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)bytes, Length - (ulong)offset);
        return new SharedWindow(_start + offset, bytes);
    }

    /// <summary>The bytes; at most 2 GiB.</summary>
    public Span<byte> Span => new(_start, checked((int)Length));

    /// <summary>True when a range lies within.</summary>
    /// <param name="address">Its first byte; anything that the other side may say.</param>
    /// <param name="bytes">How many.</param>
    /// <returns>Whether it may be touched.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Contains(ulong address, ulong bytes) => address <= Length && bytes <= Length - address;

    /// <summary>Where a range is in this process.</summary>
    /// <param name="address">Its first byte; anything that the other side may say.</param>
    /// <param name="bytes">How many.</param>
    /// <returns>Null when it is not within.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte* Find(ulong address, ulong bytes) => Contains(address, bytes) ? _start + address : null;

    /// <summary>What the other side calls an address.</summary>
    /// <param name="pointer">Within the window.</param>
    /// <returns>Its offset.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ulong AddressOf(void* pointer) => (ulong)((byte*)pointer - _start);

    /// <summary>Cuts the memory into the parts of a ring, in the order asked for; both sides ask in the same order.</summary>
    internal ref struct Cutter(SharedWindow window)
    {
        private readonly SharedWindow _window = window;
        private long _used;

        /// <summary>Bytes cut so far.</summary>
        public readonly long Used => _used;

        /// <summary>The next part, on a cache line of its own.</summary>
        /// <param name="bytes">How many.</param>
        /// <param name="alignment">A power of two, at least a cache line.</param>
        /// <returns>Its start; no more than an address when the window is only being measured.</returns>
        public byte* Take(long bytes, int alignment = LineBytes)
        {
            _used = (_used + alignment - 1) & -(long)alignment;
            byte* part = _window._start + _used;
            _used = (_used + bytes + LineBytes - 1) & -(long)LineBytes;
            if (_window._start != null && (ulong)_used > _window.Length)
            {
                throw new ArgumentException($"A ring needs {_used} bytes and more, but has {_window.Length}");
            }

            return part;
        }
    }
}
