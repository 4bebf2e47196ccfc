using System.Numerics;

namespace Ingot.Virtio.Memory;

/// <summary>
/// Hands out runs of pages of one region: the bounce memory of a driver. Lowest first, so that a shallow queue stays within memory that the caches hold.
/// Says no when there is no run; the caller waits for one to come back.
/// </summary>
internal sealed class PageAllocator
{
    internal const int PageSize = 4096;
    private readonly ulong[] _used;
    private int _lowestFree; // no word below it has a free page

    internal PageAllocator(int pages)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(pages % 64, 0);
        PageCount = pages;
        _used = new ulong[pages / 64];
    }

    internal int PageCount { get; }

    internal int FreePages => PageCount - _used.Sum(word => BitOperations.PopCount(word));

    /// <summary>Takes a run; -1 when there is none.</summary>
    internal int TryTake(int pages)
    {
        int start = pages == 1 ? FindOne() : FindRun(pages);
        if (start >= 0)
        {
            Mark(start, pages, true);
        }

        return start;
    }

    internal void Return(int start, int pages)
    {
        Mark(start, pages, false);
        _lowestFree = Math.Min(_lowestFree, start / 64);
    }

    private int FindOne()
    {
        for (; _lowestFree < _used.Length; _lowestFree++)
        {
            ulong free = ~_used[_lowestFree];
            if (free != 0)
            {
                return (_lowestFree * 64) + BitOperations.TrailingZeroCount(free);
            }
        }

        return -1;
    }

    private int FindRun(int pages)
    {
        int start = _lowestFree * 64;
        int length = 0;
        for (int at = start; at < PageCount;)
        {
            ulong word = _used[at / 64];
            if (at % 64 == 0 && (word == 0 || word == ulong.MaxValue))
            {
                length = word == 0 ? length + 64 : 0;
                at += 64;
            }
            else
            {
                length = (word >> (at % 64) & 1) == 0 ? length + 1 : 0;
                at++;
            }

            if (length >= pages)
            {
                return at - length;
            }
        }

        return -1;
    }

    private void Mark(int start, int pages, bool used)
    {
        while (pages > 0)
        {
            int bit = start % 64;
            int count = Math.Min(pages, 64 - bit);
            ulong mask = (count == 64 ? ulong.MaxValue : (1UL << count) - 1) << bit;
            ref ulong word = ref _used[start / 64];
            word = used ? word | mask : word & ~mask;
            start += count;
            pages -= count;
        }
    }
}
