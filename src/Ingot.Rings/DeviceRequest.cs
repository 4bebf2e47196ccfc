namespace Ingot.Rings;

/// <summary>A request as the device takes it from a ring: checked, and copied out of the reach of the driver. Filled again and again.</summary>
/// <param name="maxSegments">Room for so many segments.</param>
public sealed class DeviceRequest(int maxSegments)
{
    private readonly Segment[] _segments = new Segment[maxSegments];

    /// <summary>What it asks for.</summary>
    public RequestHeader Header { get; set; }

    /// <summary>What the ring calls it; to be given to <see cref="DeviceRing.Complete"/>.</summary>
    public ushort Tag { get; set; }

    /// <summary>Segments in use.</summary>
    public int Count { get; private set; }

    /// <summary>Where its data is.</summary>
    public ReadOnlySpan<Segment> Segments => _segments.AsSpan(0, Count);

    /// <summary>Begins anew, without segments.</summary>
    /// <param name="tag">What the ring calls it.</param>
    public void Begin(ushort tag)
    {
        Tag = tag;
        Count = 0;
    }

    /// <summary>Adds a segment.</summary>
    /// <param name="segment">The segment.</param>
    /// <returns>False when there is no room.</returns>
    public bool TryAdd(Segment segment)
    {
        if (Count == _segments.Length)
        {
            return false;
        }

        _segments[Count++] = segment;
        return true;
    }
}
