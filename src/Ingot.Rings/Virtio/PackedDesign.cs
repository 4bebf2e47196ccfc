using Ingot.Rings.Memory;

namespace Ingot.Rings.Virtio;

/// <summary>VIRTIO's packed virtqueue: one ring of descriptors that both sides write.</summary>
/// <param name="name">One word.</param>
/// <param name="title">What it is.</param>
/// <param name="options">What both sides agree on.</param>
public sealed class PackedDesign(string name, string title, VirtioRingOptions options) : RingDesign(name, title)
{
    /// <inheritdoc/>
    public override bool IsInOrder => options.InOrder;

    /// <inheritdoc/>
    public override DriverRing CreateDriver(SharedWindow window, RingGeometry geometry, bool counting = false)
        => counting ? new PackedDriver<CountingProbe>(window, geometry, options) : new PackedDriver<NoProbe>(window, geometry, options);

    /// <inheritdoc/>
    public override DeviceRing CreateDevice(SharedWindow window, RingGeometry geometry, bool counting = false)
        => counting ? new PackedDevice<CountingProbe>(window, geometry, options) : new PackedDevice<NoProbe>(window, geometry, options);

    /// <inheritdoc/>
    protected override long Lay(SharedWindow window, RingGeometry geometry) => new PackedAreas(window, geometry, options).Length;
}
