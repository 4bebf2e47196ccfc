using Ingot.Block;
using Ingot.Io;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Which L2 tables there are: makes those that a change needs, and drops those that nothing needs any more.</summary>
internal sealed class L2Tables(Qcow2Image image)
{
    private readonly LoopMutex _mutex = new();
    private readonly Qcow2Geometry _geometry = image.Geometry;

    /// <summary>Refuses an L2 table that lies where none can.</summary>
    internal async IoTask RefuseCorruptAsync(long offset)
    {
        int index = (int)(offset >> _geometry.L1Shift);
        long table = (long)(image.Map.L1[index] & OffsetMask);
        if (_geometry.InCluster(table) != 0)
        {
            throw await image.Corruption.RefuseAsync($"L2 table offset 0x{table:x} unaligned (L1 index: {ClusterMap.Hex(index)})");
        }
    }

    /// <summary>Makes sure that there is an L2 table for an offset, and that no snapshot shares it.</summary>
    internal async IoTask EnsureAsync(long offset)
    {
        int index = (int)(offset >> _geometry.L1Shift);
        if ((image.Map.L1[index] & CopiedFlag) != 0)
        {
            return;
        }

        await _mutex.LockAsync();
        try
        {
            if ((image.Map.L1[index] & CopiedFlag) == 0)
            {
                await CreateAsync(index, offset);
            }
        }
        finally
        {
            _mutex.Unlock();
        }
    }

    /// <summary>Drops the L2 table of an L1 index, if there is one.</summary>
    internal void Drop(int index)
    {
        ulong entry = image.Map.L1[index];
        if ((entry & OffsetMask) != 0)
        {
            image.Map.L1[index] = 0;
            image.Map.Tables.Forget((long)(entry & OffsetMask), _geometry.ClusterLength);
            image.Tables.Free(_geometry.ClusterOf((long)(entry & OffsetMask)), 1, discard: true);
        }
    }

    private async IoTask CreateAsync(int index, long guestOffset)
    {
        ulong old = image.Map.L1[index];
        long oldOffset = (long)(old & OffsetMask);
        await RefuseCorruptAsync((long)index << _geometry.L1Shift);

        ClusterRun run = await image.Allocator.AllocateAsync(1, "L2 table");
        long offset = run.First << _geometry.ClusterBits;
        try
        {
            image.Map.Tables.Forget(offset, _geometry.ClusterLength);
            if (oldOffset != 0)
            {
                await CopyAsync(oldOffset, offset);
            }
            else
            {
                image.File.Signal(BlockEvents.WriteNewL2);

                // Also behind the end of the file: another request's round may write the L1 entry before this table has an entry to be written for.
                await image.File.WriteZeroesAsync(offset, _geometry.ClusterLength);
            }
        }
        catch
        {
            await image.Allocator.UndoAsync(run);
            throw;
        }

        if (oldOffset == 0)
        {
            image.Map.AddClean(offset, guestOffset);
        }

        if (image.Tables.IsLazy)
        {
            // Tables are few, and a repair has less to do when they are counted.
            await image.Tables.WriteAsync(withCounts: true);
        }

        image.Tables.NeedBarrier();
        image.Map.L1[index] = (ulong)offset | CopiedFlag;
        if (oldOffset != 0)
        {
            image.Tables.Free(_geometry.ClusterOf(oldOffset), 1, discard: false);
        }
    }

    private async IoTask CopyAsync(long from, long to)
    {
        using var buffer = new IoBuffer(_geometry.ClusterLength);
        image.File.Signal(BlockEvents.CopyL2);
        await image.File.ReadAsync(from, buffer.Vector);
        image.File.Signal(BlockEvents.WriteNewL2);
        await image.File.WriteAsync(to, buffer.Vector);
    }
}
