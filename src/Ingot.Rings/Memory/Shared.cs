using System.Runtime.CompilerServices;

namespace Ingot.Rings.Memory;

/// <summary>
/// The only way in which rings touch shared memory. Acquire and release order what is around them; on x86 they are plain moves that the compiler may not reorder.
/// </summary>
/// <typeparam name="TProbe">Who watches.</typeparam>
internal static unsafe class Shared<TProbe>
    where TProbe : struct, IMemoryProbe
{
    /// <summary>Reads a value in any number of steps; only for what the other side does not write now, or what is checked afterwards.</summary>
    /// <typeparam name="T">Any type without references.</typeparam>
    /// <param name="address">Within the shared memory.</param>
    /// <returns>A private copy.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Load<T>(T* address)
        where T : unmanaged
    {
        TProbe.Load(address, sizeof(T));
        // The copy is forced, so that no later use reads the memory again.
        Unsafe.SkipInit(out T copy);
        Unsafe.CopyBlockUnaligned(&copy, address, (uint)sizeof(T));
        return copy;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(T* address, T value)
        where T : unmanaged
    {
        *address = value;
        TProbe.Store(address, sizeof(T));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Acquire(ushort* address)
    {
        TProbe.Load(address, sizeof(ushort));
        return Volatile.Read(ref *address);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Acquire(uint* address)
    {
        TProbe.Load(address, sizeof(uint));
        return Volatile.Read(ref *address);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Release(ushort* address, ushort value)
    {
        Volatile.Write(ref *address, value);
        TProbe.Store(address, sizeof(ushort));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Release(uint* address, uint value)
    {
        Volatile.Write(ref *address, value);
        TProbe.Store(address, sizeof(uint));
    }

    /// <summary>Orders a store before a load that follows: what a wish for a wake-up needs, on both sides.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void FullBarrier() => Interlocked.MemoryBarrier();
}
