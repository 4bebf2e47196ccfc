using Ingot.Rings.Memory;

namespace Ingot.Rings.Plain;

/// <summary>A pair of plain rings: requests and answers by value, a tail each, nothing else. What a design could cost at best.</summary>
/// <param name="name">One word.</param>
/// <param name="title">What it is.</param>
public sealed class PlainDesign(string name, string title) : RingDesign(name, title)
{
    /// <inheritdoc/>
    public override DriverRing CreateDriver(SharedWindow window, RingGeometry geometry, bool counting = false)
        => counting ? new PlainDriver<CountingProbe>(window, geometry) : new PlainDriver<NoProbe>(window, geometry);

    /// <inheritdoc/>
    public override DeviceRing CreateDevice(SharedWindow window, RingGeometry geometry, bool counting = false)
        => counting ? new PlainDevice<CountingProbe>(window, geometry) : new PlainDevice<NoProbe>(window, geometry);

    /// <inheritdoc/>
    protected override long Lay(SharedWindow window, RingGeometry geometry) => new PlainAreas(window, geometry).Length;
}
