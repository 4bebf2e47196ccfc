using System.Runtime.InteropServices;

namespace Ingot.Io;

/// <summary>Owner of aligned unmanaged memory for I/O. Freed by <see cref="Dispose"/> only: a buffer that a request still uses must not be disposed.</summary>
public sealed unsafe class IoBuffer : IDisposable
{
    /// <summary>Alignment of every buffer in bytes: enough for O_DIRECT on any device.</summary>
    public const int Alignment = 4096;

    private byte* _memory;

    /// <summary>Allocates memory whose content is undefined.</summary>
    /// <param name="length">Bytes; at least 1, at most 2 GiB - 1.</param>
    public IoBuffer(int length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)length, Alignment);
        Length = length;
    }

    /// <summary>Frees memory that the owner forgot.</summary>
    ~IoBuffer() => Free();

    /// <summary>Bytes.</summary>
    public int Length { get; }

    /// <summary>The bytes.</summary>
    public Span<byte> Span => new(_memory, Length);

    /// <summary>The whole buffer as a vector.</summary>
    public IoVector Vector => new(_memory, Length);

    /// <summary>The address of the first byte.</summary>
    public void* Pointer => _memory;

    /// <summary>A part of the buffer as a vector.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The part.</returns>
    public IoVector Slice(int offset, int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)offset, (uint)Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)length, (uint)(Length - offset));
        return new IoVector(_memory + offset, length);
    }

    /// <summary>A new buffer filled with zeroes.</summary>
    /// <param name="length">Bytes.</param>
    /// <returns>The buffer.</returns>
    public static IoBuffer Zeroed(int length)
    {
        var buffer = new IoBuffer(length);
        buffer.Span.Clear();
        return buffer;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        NativeMemory.AlignedFree(_memory);
        _memory = null;
    }
}
