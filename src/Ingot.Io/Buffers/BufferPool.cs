using System.Numerics;

namespace Ingot.Io;

/// <summary>Loop-local pool of buffers for bounce copies, in powers of two from 4 KiB to 2 MiB. Larger buffers are not kept.</summary>
public sealed class BufferPool
{
    private const int MinShift = 12;
    private const int MaxShift = 21;
    private const int KeepPerSize = 64;

    [ThreadStatic]
    private static BufferPool? _local;

    private readonly Stack<IoBuffer>[] _free = [.. Enumerable.Range(MinShift, MaxShift - MinShift + 1).Select(_ => new Stack<IoBuffer>())];

    /// <summary>The calling loop's pool.</summary>
    public static BufferPool Local => _local ??= new BufferPool();

    /// <summary>Takes a buffer; its content is undefined.</summary>
    /// <param name="length">Bytes that are needed.</param>
    /// <returns>A buffer of at least that length.</returns>
    public IoBuffer Rent(int length)
    {
        int shift = ShiftOf(length);
        return shift > MaxShift ? new IoBuffer(length)
            : _free[shift - MinShift].TryPop(out IoBuffer? buffer) ? buffer
            : new IoBuffer(1 << shift);
    }

    /// <summary>Gives a buffer back; nobody may use it any more.</summary>
    /// <param name="buffer">A buffer that this pool gave out.</param>
    public void Return(IoBuffer buffer)
    {
        int shift = ShiftOf(buffer.Length);
        if (shift > MaxShift || _free[shift - MinShift].Count >= KeepPerSize)
        {
            buffer.Dispose();
        }
        else
        {
            _free[shift - MinShift].Push(buffer);
        }
    }

    private static int ShiftOf(int length) => Math.Max(MinShift, BitOperations.Log2((uint)Math.Max(1, length) - 1) + 1);
}
