using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Virtio.Memory;

/// <summary>
/// Memory that another process can map: one memfd, mapped here once. Sealed against a change of its size, so that neither side can take pages away
/// under the other. Data in a region that is registered with a vhost-user device needs no copy.
/// </summary>
public sealed unsafe class SharedMemoryRegion : IDisposable
{
    private const long PageSize = 4096;
    private byte* _memory;

    /// <summary>Allocates zeroed memory. Pages take real memory when they are touched first.</summary>
    /// <param name="name">Shown in /proc/PID/maps.</param>
    /// <param name="length">Bytes; rounded up to whole pages.</param>
    /// <exception cref="ErrnoException">There is not enough memory, or no descriptor left.</exception>
    public SharedMemoryRegion(string name, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        Length = checked(length + PageSize - 1) / PageSize * PageSize;
        int fd = Libc.memfd_create(name, Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING);
        Descriptor = fd >= 0 ? new FileDescriptor(fd) : throw ErrnoException.ForLastError("Could not create shared memory");
        try
        {
            if (Libc.ftruncate(fd, Length) < 0 || Libc.fcntl(fd, Libc.F_ADD_SEALS, Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW | Libc.F_SEAL_SEAL) < 0)
            {
                throw ErrnoException.ForLastError($"Could not allocate {Length} bytes of shared memory");
            }

            void* memory = Libc.mmap(null, (nuint)Length, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED | Libc.MAP_NORESERVE, fd, 0);
            _memory = (nint)memory != -1 ? (byte*)memory : throw ErrnoException.ForLastError($"Could not map {Length} bytes of shared memory");
        }
        catch
        {
            Descriptor.Dispose();
            throw;
        }
    }

    /// <summary>Unmaps memory that the owner forgot.</summary>
    ~SharedMemoryRegion() => Unmap();

    /// <summary>Bytes, a multiple of the page size.</summary>
    public long Length { get; }

    /// <summary>The memfd; stays owned by this object.</summary>
    public FileDescriptor Descriptor { get; }

    /// <summary>The first byte.</summary>
    public byte* Pointer => _memory;

    /// <summary>Its address in this process, which is also its guest address for a device.</summary>
    public ulong Address => (ulong)_memory;

    /// <summary>The whole region as a vector.</summary>
    public IoVector Vector => new(_memory, Length);

    /// <summary>A part of the region as a vector.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The part.</returns>
    public IoVector Slice(long offset, long length) => Vector.Slice(offset, length);

    /// <summary>Unmaps and closes. No request may use the memory any more, and no device may have it registered.</summary>
    public void Dispose()
    {
        Unmap();
        Descriptor.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Whether a range lies within the region whole.</summary>
    internal bool Contains(void* start, long length)
    {
        ulong offset = (ulong)start - Address; // wraps to a large number below the region
        return offset < (ulong)Length && (ulong)length <= (ulong)Length - offset;
    }

    private void Unmap()
    {
        if (_memory != null)
        {
            _ = Libc.munmap(_memory, (nuint)Length);
            _memory = null;
        }
    }
}
