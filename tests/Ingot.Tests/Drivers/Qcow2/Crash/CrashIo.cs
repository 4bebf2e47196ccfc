using Ingot.Block;
using Ingot.Io;
using Ingot.Testing;

namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>What a guest does at random, told to the history of its sectors: writes, zeroes, discards, flushes; and changes of the size.</summary>
internal sealed class CrashIo(CrashWorkload workload, CrashSetup setup, Random random)
{
    private const int SectorLength = SectorHistory.SectorLength;

    private int _writes;

    // Several at once, side by side in sectors but not in clusters; sometimes a flush among them.
    internal async IoTask WriteSomeAsync()
    {
        var running = new List<IoTask>();
        int total = (int)(workload.Node.Length / SectorLength);
        int at = random.Next(total);
        for (int i = random.Next(1, 5); i > 0 && at < total; i--)
        {
            int count = Math.Min(random.Next(1, random.Next(4) == 0 ? 100 : 12), total - at);
            running.Add(WriteAsync(at, count, random.Next(2, 10)));
            if (random.Next(10) == 0)
            {
                running.Add(FlushAsync());
            }

            at += count + (random.Next(3) == 0 ? random.Next(total / 2) : random.Next(3));
        }

        foreach (IoTask task in running)
        {
            await task;
        }
    }

    private async IoTask WriteAsync(int first, int count, int kind)
    {
        if (kind is 2 or 3)
        {
            bool isDurable = random.Next(8) == 0;
            int issued = workload.Log.Tick();
            workload.History.Write(first, new ulong[count], issued, isDurable);
            ZeroFlags flags = (random.Next(2) == 0 ? ZeroFlags.MayUnmap : ZeroFlags.None) | (isDurable ? ZeroFlags.Fua : ZeroFlags.None);
            await workload.Node.WriteZeroesAsync((long)first * SectorLength, (long)count * SectorLength, flags);
            workload.History.Complete(first, count, workload.Log.Tick());
            return;
        }

        await WriteAsync(first, count, kind == 4 ? WriteFlags.Fua : WriteFlags.None);
    }

    private async IoTask WriteAsync(int first, int count, WriteFlags flags)
    {
        int write = ++_writes;
        var tags = new ulong[count];
        var bytes = new byte[count * SectorLength];
        for (int i = 0; i < count; i++)
        {
            tags[i] = SectorHistory.Tag(write, first + i);
            SectorHistory.Fill(bytes.AsSpan(i * SectorLength, SectorLength), tags[i]);
        }

        workload.History.Write(first, tags, workload.Log.Tick(), (flags & WriteFlags.Fua) != 0);
        await Qcow2Fixture.WriteAsync(workload.Node, (long)first * SectorLength, bytes, flags);
        workload.History.Complete(first, count, workload.Log.Tick());
    }

    internal IoTask WriteCompressedAsync()
    {
        int perCluster = (1 << setup.ClusterBits) / SectorLength;
        int clusters = (int)(workload.Node.Length >> setup.ClusterBits);
        int first = random.Next(clusters + 1);
        int count = Math.Min(random.Next(1, 4), clusters - first);
        return count == 0 ? IoTask.Completed : WriteAsync(first * perCluster, count * perCluster, WriteFlags.Compressed);
    }

    // What is read after a discard is zero or as it was, and stays so.
    internal async IoTask DiscardAsync()
    {
        int total = (int)(workload.Node.Length / SectorLength);
        int first = random.Next(total);
        int count = Math.Min(random.Next(1, 3 << (setup.ClusterBits - 9)), total - first);
        int issued = workload.Log.Tick();
        await workload.Node.DiscardAsync((long)first * SectorLength, (long)count * SectorLength);
        int completed = workload.Log.Tick();
        byte[] now = await Qcow2Fixture.ReadAsync(workload.Node, (long)first * SectorLength, count * SectorLength);
        for (int i = 0; i < count; i++)
        {
            ulong tag = BitConverter.ToUInt64(now, i * SectorLength);
            workload.History.Write(first + i, [tag], issued);
            workload.History.Complete(first + i, 1, completed);
        }
    }

    internal async IoTask FlushAsync()
    {
        int issued = workload.Log.Tick();
        await workload.Node.FlushAsync();
        workload.History.Flush(issued, workload.Log.Tick());
    }

    // While a disk gets smaller, what it loses is as it was, or zero, or shows what is below; where it gets larger there are zeroes.
    internal async IoTask ResizeAsync()
    {
        int old = (int)(workload.Node.Length / SectorLength);
        int sectors = random.Next(1, workload.MaxLength / SectorLength);
        ulong[] below = await workload.ReadBelowAsync();
        int issued = workload.Log.Tick();
        for (int sector = Math.Min(old, sectors); sector < old; sector++)
        {
            workload.History.Write(sector, [sector < below.Length ? below[sector] : 0], issued);
            workload.History.Write(sector, [0], issued);
        }

        await workload.Node.ResizeAsync((long)sectors * SectorLength, sectors > old && setup.BackingLength == 0 && random.Next(4) == 0 ? Preallocation.Metadata : Preallocation.Off);
        int completed = workload.Log.Tick();
        workload.History.Complete(Math.Min(old, sectors), Math.Max(0, old - sectors), completed);
        workload.History.Flush(completed, completed);
        workload.History.Resize((long)sectors * SectorLength, issued, completed);
    }
}
