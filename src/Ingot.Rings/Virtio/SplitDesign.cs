using Ingot.Rings.Memory;

namespace Ingot.Rings.Virtio;

/// <summary>VIRTIO's split virtqueue: descriptor table, available ring, used ring.</summary>
/// <param name="name">One word.</param>
/// <param name="title">What it is.</param>
/// <param name="options">What both sides agree on.</param>
public sealed class SplitDesign(string name, string title, VirtioRingOptions options) : RingDesign(name, title)
{
    /// <inheritdoc/>
    public override bool IsInOrder => options.InOrder;

    /// <inheritdoc/>
    public override DriverRing CreateDriver(SharedWindow window, RingGeometry geometry, bool counting = false)
        => counting ? new SplitDriver<CountingProbe>(window, geometry, options) : new SplitDriver<NoProbe>(window, geometry, options);

    /// <inheritdoc/>
    public override DeviceRing CreateDevice(SharedWindow window, RingGeometry geometry, bool counting = false)
        => counting ? new SplitDevice<CountingProbe>(window, geometry, options) : new SplitDevice<NoProbe>(window, geometry, options);

    /// <inheritdoc/>
    protected override long Lay(SharedWindow window, RingGeometry geometry) => new SplitAreas(window, geometry, options).Length;
}
