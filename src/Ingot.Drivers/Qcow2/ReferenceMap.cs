namespace Ingot.Drivers.Qcow2;

/// <summary>References to clusters as a check counts them: a byte each where there are any, and more for the few that have many.</summary>
/// <param name="limit">Called with the bytes of memory that are needed, before they are taken; throws when that is too much.</param>
internal sealed class ReferenceMap(Action<long> limit)
{
    private const int ChunkBits = 16;

    private readonly Dictionary<long, byte[]> _chunks = [];
    private readonly Dictionary<long, long> _many = [];

    /// <summary>One more than the highest cluster that was counted.</summary>
    internal long End { get; private set; }

    internal ulong this[long cluster]
        => !_chunks.TryGetValue(cluster >> ChunkBits, out byte[]? chunk) ? 0
            : chunk[cluster & ((1 << ChunkBits) - 1)] is var count && count < byte.MaxValue ? count
            : (ulong)_many[cluster];

    /// <summary>Sets a count, of a cluster that was not counted before.</summary>
    internal void Set(long cluster, ulong count)
    {
        Add(cluster);
        if (count < byte.MaxValue)
        {
            _chunks[cluster >> ChunkBits][cluster & ((1 << ChunkBits) - 1)] = (byte)count;
        }
        else
        {
            _chunks[cluster >> ChunkBits][cluster & ((1 << ChunkBits) - 1)] = byte.MaxValue;
            _many[cluster] = (long)count;
        }
    }

    internal void Add(long cluster)
    {
        if (!_chunks.TryGetValue(cluster >> ChunkBits, out byte[]? chunk))
        {
            limit((_chunks.Count + 1L) << ChunkBits);
            chunk = new byte[1 << ChunkBits];
            _chunks.Add(cluster >> ChunkBits, chunk);
        }

        End = Math.Max(End, cluster + 1);
        ref byte count = ref chunk[cluster & ((1 << ChunkBits) - 1)];
        if (count < byte.MaxValue - 1)
        {
            count++;
        }
        else
        {
            _many[cluster] = count == byte.MaxValue ? _many[cluster] + 1 : byte.MaxValue;
            count = byte.MaxValue;
        }
    }
}
