using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>Memory for cached pieces of tables, all of one length, in slabs that are given back when nothing in them is used.</summary>
internal sealed class SlicePool(int sliceLength)
{
    private const int SlabLength = 256 << 10;

    private readonly List<Slab> _slabs = [];
    private Stack<Slice> _free = new();

    /// <summary>Takes memory; its content is undefined.</summary>
    internal Slice Rent()
    {
        if (_free.TryPop(out Slice slice))
        {
            return slice;
        }

        // The first slab is small: most images that are opened are looked at once.
        var slab = new Slab(new IoBuffer(Math.Max(sliceLength, _slabs.Count == 0 ? SlabLength / 8 : SlabLength)));
        _slabs.Add(slab);
        for (int offset = slab.Buffer.Length - sliceLength; offset > 0; offset -= sliceLength)
        {
            _free.Push(new Slice(slab.Buffer.Slice(offset, sliceLength), slab));
        }

        return new Slice(slab.Buffer.Slice(0, sliceLength), slab);
    }

    /// <summary>Gives memory back to the pool.</summary>
    internal void Return(Slice slice) => _free.Push(slice);

    /// <summary>Gives memory back to the system.</summary>
    internal void Trim()
    {
        foreach (Slice slice in _free)
        {
            slice.Slab.FreeCount++;
        }

        _slabs.RemoveAll(slab =>
        {
            slab.IsUnused = slab.FreeCount == slab.Buffer.Length / sliceLength;
            slab.FreeCount = 0;
            return slab.IsUnused;
        });
        Slice[] all = [.. _free];
        _free = new Stack<Slice>(all.Where(slice => !slice.Slab.IsUnused));
        foreach (Slab slab in all.Select(slice => slice.Slab).Where(slab => slab.IsUnused).Distinct())
        {
            slab.Buffer.Dispose();
        }
    }

    /// <summary>Frees all memory; nothing may be in use.</summary>
    internal void Free()
    {
        _free.Clear();
        _slabs.ForEach(slab => slab.Buffer.Dispose());
        _slabs.Clear();
    }

    /// <summary>Memory of one piece, and the slab that it is in.</summary>
    internal readonly record struct Slice(IoVector Data, Slab Slab);

    /// <summary>Memory that is taken from the system as a whole.</summary>
    internal sealed class Slab(IoBuffer buffer)
    {
        internal IoBuffer Buffer => buffer;

        internal int FreeCount { get; set; }

        internal bool IsUnused { get; set; }
    }
}
