namespace Ingot.Drivers.Qcow2;

/// <summary>
/// References to clusters as a check counts them. Most clusters have one: a bit each is enough where none has more, a byte each elsewhere, and more for the
/// few that have very many.
/// </summary>
/// <param name="limit">Called with the bytes of memory that are needed, before they are taken; throws when that is too much.</param>
internal sealed class ReferenceMap(Action<long> limit)
{
    private const int ChunkBits = 16;
    private const int ChunkClusters = 1 << ChunkBits;

    private readonly Dictionary<long, byte[]> _chunks = []; // of ChunkClusters / 8 bytes, or of ChunkClusters
    private readonly Dictionary<long, long> _many = [];
    private long _bytes;
    private long _lastIndex = -1;
    private byte[] _last = [];

    /// <summary>One more than the highest cluster that was counted.</summary>
    internal long End { get; private set; }

    internal ulong this[long cluster]
    {
        get
        {
            if (!TryGetChunk(cluster >> ChunkBits, out byte[] chunk))
            {
                return 0;
            }

            int at = (int)cluster & (ChunkClusters - 1);
            return chunk.Length < ChunkClusters ? (ulong)(chunk[at >> 3] >> (at & 7)) & 1
                : chunk[at] < byte.MaxValue ? chunk[at]
                : (ulong)_many[cluster];
        }
    }

    /// <summary>Sets a count, of a cluster that was not counted before.</summary>
    internal void Set(long cluster, ulong count)
    {
        TryAdd(cluster);
        if (count == 1)
        {
            return;
        }

        byte[] counts = CountsOf(cluster >> ChunkBits);
        counts[cluster & (ChunkClusters - 1)] = (byte)Math.Min(count, byte.MaxValue);
        if (count >= byte.MaxValue)
        {
            _many[cluster] = (long)count;
        }
    }

    /// <summary>Counts a cluster once more.</summary>
    /// <param name="cluster">Its number.</param>
    /// <param name="max">Where to stop.</param>
    /// <returns>False when it was counted so often already.</returns>
    internal bool TryAdd(long cluster, ulong max = long.MaxValue)
    {
        long index = cluster >> ChunkBits;
        if (!TryGetChunk(index, out byte[] chunk))
        {
            chunk = Replace(index, ChunkClusters / 8);
        }

        End = Math.Max(End, cluster + 1);
        int at = (int)cluster & (ChunkClusters - 1);
        if (chunk.Length < ChunkClusters)
        {
            int bit = 1 << (at & 7);
            if ((chunk[at >> 3] & bit) == 0)
            {
                chunk[at >> 3] |= (byte)bit;
                return true;
            }

            chunk = CountsOf(index);
        }

        ref byte count = ref chunk[at];
        if ((count < byte.MaxValue ? count : (ulong)_many[cluster]) >= max)
        {
            return false;
        }

        if (count < byte.MaxValue - 1)
        {
            count++;
        }
        else
        {
            _many[cluster] = count == byte.MaxValue ? _many[cluster] + 1 : byte.MaxValue;
            count = byte.MaxValue;
        }

        return true;
    }

    private bool TryGetChunk(long index, out byte[] chunk)
    {
        if (index != _lastIndex)
        {
            if (!_chunks.TryGetValue(index, out byte[]? found))
            {
                chunk = [];
                return false;
            }

            (_lastIndex, _last) = (index, found);
        }

        chunk = _last;
        return true;
    }

    // The counts of a chunk that exists, in bytes.
    private byte[] CountsOf(long index)
    {
        byte[] chunk = _chunks[index];
        if (chunk.Length == ChunkClusters)
        {
            return chunk;
        }

        byte[] counts = Replace(index, ChunkClusters);
        for (int at = 0; at < counts.Length; at++)
        {
            counts[at] = (byte)((chunk[at >> 3] >> (at & 7)) & 1);
        }

        return counts;
    }

    private byte[] Replace(long index, int length)
    {
        limit(_bytes += length);
        var chunk = new byte[length];
        _chunks[index] = chunk;
        (_lastIndex, _last) = (index, chunk);
        return chunk;
    }
}
