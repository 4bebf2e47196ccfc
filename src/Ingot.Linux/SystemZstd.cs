using System.Runtime.InteropServices;

namespace Ingot.Linux;

/// <summary>A compressor of the system's libzstd, which is the fastest there is; not every system has it. For one thread at a time.</summary>
public sealed unsafe partial class SystemZstd
{
    private const string Library = "libzstd.so.1";

    private readonly void* _context = ZSTD_createCCtx();

    /// <summary>Frees the memory when the thread that it was made for is gone.</summary>
    ~SystemZstd()
    {
        // SAFETY: nobody can use the context any more; null is ignored.
        ZSTD_freeCCtx(_context);
    }

    /// <summary>Whether the library is installed.</summary>
    public static bool IsAvailable { get; } = NativeLibrary.TryLoad(Library, out _);

    /// <summary>Packs bytes into one frame.</summary>
    /// <param name="source">The bytes.</param>
    /// <param name="destination">Room for the frame.</param>
    /// <param name="level">The effort, 1 to 19.</param>
    /// <returns>The length of the frame, or 0 when there is no room for it or no memory to make it.</returns>
    public int Pack(ReadOnlySpan<byte> source, Span<byte> destination, int level)
    {
        // SAFETY: both ranges are pinned for the call and described by their true lengths; the context belongs to this object.
        fixed (byte* from = source, to = destination)
        {
            nuint length = _context is null ? 0 : ZSTD_compressCCtx(_context, to, (nuint)destination.Length, from, (nuint)source.Length, level);
            return ZSTD_isError(length) == 0 ? (int)length : 0;
        }
    }

    [LibraryImport(Library)]
    private static partial void* ZSTD_createCCtx();

    [LibraryImport(Library)]
    private static partial nuint ZSTD_freeCCtx(void* context);

    [LibraryImport(Library)]
    private static partial nuint ZSTD_compressCCtx(void* context, void* destination, nuint room, void* source, nuint length, int level);

    [LibraryImport(Library)]
    private static partial uint ZSTD_isError(nuint code);
}
