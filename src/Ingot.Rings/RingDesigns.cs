using Ingot.Rings.IoUring;
using Ingot.Rings.Nvme;
using Ingot.Rings.Plain;
using Ingot.Rings.Virtio;

namespace Ingot.Rings;

/// <summary>The list of designs. To add one: its folder, and a line here.</summary>
public static class RingDesigns
{
    // Before the list: initializers run in the order of the text.
    private static VirtioRingOptions Embedded { get; } = new() { Indirect = true, EmbedHeader = true, EmbedStatus = true };

    /// <summary>All of them, in the order in which tables show them.</summary>
    public static IReadOnlyList<RingDesign> All { get; } =
    [
        new PlainDesign("plain", "a plain ring by value"),
        new SplitDesign("split", "VIRTIO split, chained", new VirtioRingOptions()),
        new SplitDesign("split-indirect", "VIRTIO split, indirect", new VirtioRingOptions { Indirect = true }),
        new SplitDesign("split-in-order", "VIRTIO split, chained, in order", new VirtioRingOptions { InOrder = true }),
        new SplitDesign("split-indirect-in-order", "VIRTIO split, indirect, in order", new VirtioRingOptions { Indirect = true, InOrder = true }),
        new PackedDesign("packed", "VIRTIO packed, chained", new VirtioRingOptions()),
        new PackedDesign("packed-indirect", "VIRTIO packed, indirect", new VirtioRingOptions { Indirect = true }),
        new PackedDesign("packed-in-order", "VIRTIO packed, chained, in order", new VirtioRingOptions { InOrder = true }),
        new PackedDesign("packed-indirect-in-order", "VIRTIO packed, indirect, in order", new VirtioRingOptions { Indirect = true, InOrder = true }),
        new SplitDesign("embedded-header", "split, embedded header", new VirtioRingOptions { Indirect = true, EmbedHeader = true }),
        new SplitDesign("embedded", "split, embedded header and status", Embedded),
        new SplitDesign("embedded-chained", "split, embedded, chained", Embedded with { Indirect = false }),
        new SplitDesign("embedded-in-order", "split, embedded, in order", Embedded with { InOrder = true }),
        new PackedDesign("embedded-packed-header", "packed, embedded header", new VirtioRingOptions { Indirect = true, EmbedHeader = true }),
        new PackedDesign("embedded-packed", "packed, embedded header and status", Embedded),
        new PackedDesign("embedded-packed-chained", "packed, embedded, chained", Embedded with { Indirect = false }),
        new PackedDesign("embedded-packed-in-order", "packed, embedded, in order", Embedded with { InOrder = true }),
        new NvmeDesign("nvme", "NVMe, PRP", sgl: false),
        new NvmeDesign("nvme-sgl", "NVMe, SGL", sgl: true),
        new UringDesign("io-uring", "io_uring, index array", array: true),
        new UringDesign("io-uring-no-array", "io_uring, no index array", array: false),
    ];

    /// <summary>Looks a design up.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>Null when there is none.</returns>
    public static RingDesign? Find(string name) => All.FirstOrDefault(d => d.Name == name);
}
