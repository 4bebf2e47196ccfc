using Ingot.Rings.Memory;

namespace Ingot.Rings;

/// <summary>A way to lay a queue pair out in shared memory, and to run both of its sides.</summary>
/// <param name="name">One word for command lines and tables.</param>
/// <param name="title">What it is, in a few words.</param>
public abstract unsafe class RingDesign(string name, string title)
{
    /// <summary>One word for command lines and tables.</summary>
    public string Name { get; } = name;

    /// <summary>What it is, in a few words.</summary>
    public string Title { get; } = title;

    /// <summary>True when answers come in the order of the requests; the device has to keep to it.</summary>
    public virtual bool IsInOrder => false;

    /// <summary>Bytes of shared memory that a queue pair takes, without the data of its requests.</summary>
    /// <param name="geometry">Its sizes.</param>
    /// <returns>Bytes.</returns>
    public long MemorySize(RingGeometry geometry) => Lay(new SharedWindow(null, 0), geometry);

    /// <summary>The driver's side; made first, of zeroed memory.</summary>
    /// <param name="window">The shared memory; the ring takes <see cref="MemorySize"/> from its start, data may be anywhere in it.</param>
    /// <param name="geometry">The sizes.</param>
    /// <param name="counting">True to report accesses to <see cref="CacheModel.Current"/>.</param>
    /// <returns>The side.</returns>
    public abstract DriverRing CreateDriver(SharedWindow window, RingGeometry geometry, bool counting = false);

    /// <summary>The device's side.</summary>
    /// <param name="window">The same memory, wherever this process has it.</param>
    /// <param name="geometry">The same sizes.</param>
    /// <param name="counting">True to report accesses to <see cref="CacheModel.Current"/>.</param>
    /// <returns>The side.</returns>
    public abstract DeviceRing CreateDevice(SharedWindow window, RingGeometry geometry, bool counting = false);

    /// <summary>Cuts a window as the ring does.</summary>
    /// <param name="window">The memory; at address zero to measure only.</param>
    /// <param name="geometry">The sizes.</param>
    /// <returns>Bytes used.</returns>
    protected abstract long Lay(SharedWindow window, RingGeometry geometry);
}
