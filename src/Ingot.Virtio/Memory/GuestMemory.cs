using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Virtio.Memory;

/// <summary>One region of a guest's memory: where the guest, the front-end and we see it.</summary>
/// <param name="GuestAddress">Guest-physical address.</param>
/// <param name="UserAddress">Address in the front-end, which is how rings are named.</param>
/// <param name="Mapping">Where we see it; its length is the region's.</param>
public sealed unsafe record GuestRegion(ulong GuestAddress, ulong UserAddress, SharedMapping Mapping)
{
    /// <summary>Bytes.</summary>
    public ulong Size => (ulong)Mapping.Length;
}

/// <summary>
/// The table of a guest's memory regions. Immutable: a change makes a new table, and rings switch to it while they are stopped, so that nothing in
/// flight ever points into memory that went away. Guest addresses are hostile; every lookup checks the whole range without overflow.
/// </summary>
public sealed unsafe class GuestMemory
{
    /// <summary>The most regions of a table.</summary>
    public const int MaxRegions = 509;

    private readonly Entry* _entries; // by guest address
    private readonly int _count;

    private GuestMemory(List<GuestRegion> regions)
    {
        Regions = regions;
        _count = regions.Count;
        _entries = (Entry*)NativeMemory.AllocZeroed((nuint)Math.Max(1, _count), (nuint)sizeof(Entry));
        for (int i = 0; i < _count; i++)
        {
            _entries[i] = new Entry { Guest = regions[i].GuestAddress, Size = regions[i].Size, Host = regions[i].Mapping.Pointer };
        }
    }

    /// <summary>Frees the table; the regions are released by <see cref="Release"/>.</summary>
    ~GuestMemory() => NativeMemory.Free(_entries);

    /// <summary>The regions by guest address.</summary>
    public IReadOnlyList<GuestRegion> Regions { get; }

    /// <summary>The first guest address after the last region.</summary>
    public ulong GuestEnd => _count == 0 ? 0 : _entries[_count - 1].Guest + _entries[_count - 1].Size;

    /// <summary>Makes a table. Takes the mappings over, also when it fails.</summary>
    /// <param name="regions">In any order.</param>
    /// <returns>The table; release it.</returns>
    /// <exception cref="ErrnoException">Regions overlap or wrap, or are too many.</exception>
    public static GuestMemory Create(IEnumerable<GuestRegion> regions)
    {
        List<GuestRegion> sorted = [.. regions.OrderBy(r => r.GuestAddress)];
        try
        {
            Check(sorted);
        }
        catch
        {
            sorted.ForEach(r => r.Mapping.Release());
            throw;
        }

        return new GuestMemory(sorted);
    }

    /// <summary>Registers all regions with a ring, or none.</summary>
    /// <param name="ring">The ring of this loop.</param>
    /// <returns>Why it could not be done.</returns>
    public Errno RegisterWith(IoRing ring)
    {
        for (int i = 0; i < Regions.Count; i++)
        {
            Errno errno = ring.RegisterMemory(Regions[i].Mapping.Pointer, Regions[i].Mapping.Length);
            if (errno != Errno.None)
            {
                Unregister(ring, i);
                return errno;
            }
        }

        return Errno.None;
    }

    /// <summary>Takes the regions out of a ring that <see cref="RegisterWith"/> put in.</summary>
    /// <param name="ring">The ring of this loop; nothing is in flight.</param>
    public void UnregisterFrom(IoRing ring) => Unregister(ring, Regions.Count);

    private void Unregister(IoRing ring, int count)
    {
        for (int i = 0; i < count; i++)
        {
            ring.UnregisterMemory(Regions[i].Mapping.Pointer, Regions[i].Mapping.Length);
        }
    }

    /// <summary>Gives the regions up. Nothing may use the memory any more.</summary>
    public void Release()
    {
        foreach (GuestRegion region in Regions)
        {
            region.Mapping.Release();
        }
    }

    /// <summary>Finds guest memory.</summary>
    /// <param name="address">Guest-physical address.</param>
    /// <param name="hint">The region that was found last; kept by the caller.</param>
    /// <param name="available">Bytes from there to the end of the region.</param>
    /// <returns>The address, or null when there is no memory.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte* Find(ulong address, ref int hint, out ulong available)
    {
        // SAFETY: the hint is 0 or was set below; the table has at least one entry, of size 0 when there are no regions.
        Entry* entry = _entries + hint;
        ulong offset = address - entry->Guest;
        if (offset >= entry->Size)
        {
            return Search(address, ref hint, out available);
        }

        available = entry->Size - offset;
        return entry->Host + offset;
    }

    /// <summary>Finds memory by its address in the front-end.</summary>
    /// <param name="address">User address.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The address, or null when the range is not within one region.</returns>
    internal byte* FindUser(ulong address, ulong length)
    {
        foreach (GuestRegion region in Regions)
        {
            ulong offset = address - region.UserAddress;
            if (offset < region.Size && length <= region.Size - offset)
            {
                return region.Mapping.Pointer + offset;
            }
        }

        return null;
    }

    /// <summary>The guest address of memory that <see cref="Find"/> gave.</summary>
    /// <param name="pointer">The first byte.</param>
    /// <returns>Guest-physical address.</returns>
    internal ulong GuestAddressOf(byte* pointer)
    {
        for (int i = 0; i < _count; i++)
        {
            var offset = (ulong)(pointer - _entries[i].Host);
            if (offset < _entries[i].Size)
            {
                return _entries[i].Guest + offset;
            }
        }

        throw new InvalidOperationException("Not an address in guest memory.");
    }

    private byte* Search(ulong address, ref int hint, out ulong available)
    {
        int low = 0;
        int high = _count - 1;
        while (low <= high)
        {
            int middle = (low + high) / 2;
            Entry* entry = _entries + middle;
            if (address < entry->Guest)
            {
                high = middle - 1;
            }
            else if (address - entry->Guest >= entry->Size)
            {
                low = middle + 1;
            }
            else
            {
                hint = middle;
                available = entry->Size - (address - entry->Guest);
                return entry->Host + (address - entry->Guest);
            }
        }

        available = 0;
        return null;
    }

    private static void Check(List<GuestRegion> sorted)
    {
        if (sorted.Count > MaxRegions)
        {
            throw new ErrnoException(Errno.EPROTO, $"{sorted.Count} memory regions, the limit is {MaxRegions}");
        }

        for (int i = 0; i < sorted.Count; i++)
        {
            GuestRegion region = sorted[i];
            if (region.GuestAddress + region.Size < region.GuestAddress || region.UserAddress + region.Size < region.UserAddress)
            {
                throw new ErrnoException(Errno.EPROTO, $"Memory region of {region.Size} bytes at guest address 0x{region.GuestAddress:x} wraps around");
            }

            if (i > 0 && sorted[i - 1].GuestAddress + sorted[i - 1].Size > region.GuestAddress)
            {
                throw new ErrnoException(Errno.EPROTO, $"Memory regions at guest addresses 0x{sorted[i - 1].GuestAddress:x} and 0x{region.GuestAddress:x} overlap");
            }
        }

        GuestRegion[] byUser = [.. sorted.OrderBy(r => r.UserAddress)];
        for (int i = 1; i < byUser.Length; i++)
        {
            if (byUser[i - 1].UserAddress + byUser[i - 1].Size > byUser[i].UserAddress)
            {
                throw new ErrnoException(Errno.EPROTO, $"Memory regions at user addresses 0x{byUser[i - 1].UserAddress:x} and 0x{byUser[i].UserAddress:x} overlap");
            }
        }
    }

    private struct Entry
    {
        internal ulong Guest;
        internal ulong Size;
        internal byte* Host;
    }
}
