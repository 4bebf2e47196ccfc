namespace Ingot.Rings.Memory;

/// <summary>Sees every access of a ring to the memory that both sides share. A struct, so that the one which does nothing costs nothing.</summary>
internal unsafe interface IMemoryProbe
{
    /// <summary>Bytes are about to be read.</summary>
    /// <param name="address">The first.</param>
    /// <param name="bytes">How many.</param>
    static abstract void Load(void* address, int bytes);

    /// <summary>Bytes were written.</summary>
    /// <param name="address">The first.</param>
    /// <param name="bytes">How many.</param>
    static abstract void Store(void* address, int bytes);
}

/// <summary>For measuring time.</summary>
internal readonly unsafe struct NoProbe : IMemoryProbe
{
    public static void Load(void* address, int bytes)
    {
    }

    public static void Store(void* address, int bytes)
    {
    }
}

/// <summary>For counting: tells the model of the caches that is current on this thread.</summary>
internal readonly unsafe struct CountingProbe : IMemoryProbe
{
    public static void Load(void* address, int bytes) => CacheModel.Current!.Load((ulong)address, bytes);

    public static void Store(void* address, int bytes) => CacheModel.Current!.Store((ulong)address, bytes);
}
