using Ingot.Rings.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Rings.Virtio;

/// <summary>Where the parts of a split virtqueue are, and what its driver keeps for each token.</summary>
internal readonly unsafe struct SplitAreas
{
    public readonly byte* Descriptors;
    public readonly byte* Available;
    public readonly byte* Used;
    public readonly byte* Blocks;
    public readonly byte* Tables;
    public readonly int TableStride;
    public readonly long Length;

    public SplitAreas(SharedWindow window, RingGeometry geometry, VirtioRingOptions options)
    {
        int size = geometry.QueueSize;
        TableStride = ((geometry.MaxSegments + options.Overhead) * SplitLayout.DescriptorSize) + 63 & ~63;
        var cutter = new SharedWindow.Cutter(window);
        Descriptors = cutter.Take((long)size * options.DescriptorStride);
        Available = cutter.Take(SplitLayout.AvailableSize(size));
        Used = cutter.Take(SplitLayout.UsedSize(size));
        Blocks = cutter.Take((long)geometry.Depth * RequestBlock.Size);
        Tables = cutter.Take(options.Indirect ? (long)geometry.Depth * TableStride : 0);
        Length = cutter.Used;
    }
}
