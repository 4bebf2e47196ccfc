using Ingot.Rings.Memory;

namespace Ingot.Rings.IoUring;

/// <summary>io_uring's submission and completion ring.</summary>
/// <param name="name">One word.</param>
/// <param name="title">What it is.</param>
/// <param name="array">True for the index array between ring and entries, false for IORING_SETUP_NO_SQARRAY.</param>
public sealed class UringDesign(string name, string title, bool array) : RingDesign(name, title)
{
    /// <inheritdoc/>
    public override DriverRing CreateDriver(SharedWindow window, RingGeometry geometry, bool counting = false)
        => counting ? new UringDriver<CountingProbe>(window, geometry, array) : new UringDriver<NoProbe>(window, geometry, array);

    /// <inheritdoc/>
    public override DeviceRing CreateDevice(SharedWindow window, RingGeometry geometry, bool counting = false)
        => counting ? new UringDevice<CountingProbe>(window, geometry, array) : new UringDevice<NoProbe>(window, geometry, array);

    /// <inheritdoc/>
    protected override long Lay(SharedWindow window, RingGeometry geometry) => new UringAreas(window, geometry, array).Length;
}
