using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>A virtual machine's state, which lies at guest offsets behind the disk; the L1 table grows as far as it is written.</summary>
internal sealed class Qcow2VmState(Qcow2Image image, ClusterReader reader, ClusterWriter writer)
{
    private readonly LoopMutex _growing = new();

    internal IoTask ReadAsync(long offset, IoVector data)
    {
        image.File.Signal(BlockEvents.LoadVmState);
        return reader.ReadAsync(Place(offset, data.Length), data);
    }

    internal async IoTask WriteAsync(long offset, IoVector data)
    {
        if (image.Geometry.HasDataFile)
        {
            throw ErrnoException.For(Errno.EOPNOTSUPP, $"Image '{image.File.FileName}' has an external data file, which keeps no VM state");
        }

        image.File.Signal(BlockEvents.SaveVmState);
        long start = Place(offset, data.Length);
        await image.BeginChangeAsync();
        await EnsureEntriesAsync(start + data.Length);
        await writer.WriteAsync(start, data);
    }

    private long Place(long offset, long length)
    {
        long most = ((long)MaxL1Bytes / 8) << Math.Min(image.Geometry.L1Shift, 40);
        return offset >= 0 && offset <= most - length - image.VmStateStart
            ? image.VmStateStart + offset
            : throw ErrnoException.For(Errno.EFBIG, $"Image '{image.File.FileName}' has no place for {length} bytes of VM state at {offset}");
    }

    private async IoTask EnsureEntriesAsync(long end)
    {
        int needed = (int)((end - 1) >> image.Geometry.L1Shift) + 1;
        if (needed <= image.Map.L1.Count)
        {
            return;
        }

        await _growing.LockAsync();
        try
        {
            // By half, so that a state written piece by piece moves the table rarely.
            int count = image.Map.L1.Count;
            if (needed > count)
            {
                await L1Growth.GrowAsync(image, Math.Max(needed, (int)Math.Min(MaxL1Bytes / 8, count + (count / 2L))), image.Length);

                // At once, so that the state can take the place of the old table.
                await image.Tables.WriteAsync();
            }
        }
        finally
        {
            _growing.Unlock();
        }
    }
}
