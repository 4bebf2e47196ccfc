using Ingot.Rings.Memory;

namespace Ingot.Rings.Nvme;

/// <summary>NVMe's submission and completion queue.</summary>
/// <param name="name">One word.</param>
/// <param name="title">What it is.</param>
/// <param name="sgl">True for scatter-gather lists, false for physical region pages, where all segments but the last are whole pages.</param>
public sealed class NvmeDesign(string name, string title, bool sgl) : RingDesign(name, title)
{
    /// <inheritdoc/>
    public override DriverRing CreateDriver(SharedWindow window, RingGeometry geometry, bool counting = false)
        => counting ? new NvmeDriver<CountingProbe>(window, geometry, sgl) : new NvmeDriver<NoProbe>(window, geometry, sgl);

    /// <inheritdoc/>
    public override DeviceRing CreateDevice(SharedWindow window, RingGeometry geometry, bool counting = false)
        => counting ? new NvmeDevice<CountingProbe>(window, geometry) : new NvmeDevice<NoProbe>(window, geometry);

    /// <inheritdoc/>
    protected override long Lay(SharedWindow window, RingGeometry geometry) => new NvmeAreas(window, geometry).Length;
}
