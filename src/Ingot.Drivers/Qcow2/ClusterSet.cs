namespace Ingot.Drivers.Qcow2;

/// <summary>A set of clusters of a file, as bits in pages; asking for a run of clusters looks at words.</summary>
internal sealed class ClusterSet
{
    private const int PageBits = 15;
    private const int WordBits = 6;

    private readonly Dictionary<long, ulong[]> _pages = [];
    private long _lastIndex = -1;
    private ulong[]? _lastPage;

    internal void Add(long cluster)
    {
        if (!_pages.TryGetValue(cluster >> PageBits, out ulong[]? page))
        {
            page = new ulong[1 << (PageBits - WordBits)];
            _pages.Add(cluster >> PageBits, page);
            _lastIndex = -1;
        }

        page[WordOf(cluster)] |= 1UL << (int)cluster;
    }

    internal void Remove(long cluster)
    {
        if (_pages.TryGetValue(cluster >> PageBits, out ulong[]? page))
        {
            page[WordOf(cluster)] &= ~(1UL << (int)cluster);
        }
    }

    internal void Clear()
    {
        _pages.Clear();
        _lastIndex = -1;
    }

    /// <summary>Whether one of some neighbouring clusters is in the set.</summary>
    internal bool Intersects(long first, long last)
    {
        for (long at = first; at <= last;)
        {
            long wordEnd = Math.Min(last, at | 63);
            ulong mask = (ulong.MaxValue << (int)at) & (ulong.MaxValue >> (int)(63 - (wordEnd & 63)));
            if (PageOf(at) is { } page && (page[WordOf(at)] & mask) != 0)
            {
                return true;
            }

            at = wordEnd + 1;
        }

        return false;
    }

    private static int WordOf(long cluster) => (int)(cluster >> WordBits) & ((1 << (PageBits - WordBits)) - 1);

    private ulong[]? PageOf(long cluster)
    {
        long index = cluster >> PageBits;
        if (index != _lastIndex)
        {
            _lastPage = _pages.GetValueOrDefault(index);
            _lastIndex = index;
        }

        return _lastPage;
    }
}
