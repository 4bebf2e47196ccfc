using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>Changes the virtual size. No other request may be in flight.</summary>
internal sealed class Qcow2Resize(Qcow2Image image, ClusterWriter writer, ClusterEraser eraser)
{
    private const int Sector = 512;

    private readonly Qcow2Geometry _geometry = image.Geometry;

    internal async IoTask RunAsync(long length, Preallocation preallocation)
    {
        Qcow2Header header = image.Header.Current;
        if (length % Sector != 0)
        {
            throw new OptionException($"The new size must be a multiple of {Sector}");
        }

        if (length < 0 || length > long.MaxValue - _geometry.ClusterLength || _geometry.L1EntriesFor(length) > MaxL1Bytes / 8)
        {
            throw new ErrnoException(Errno.EFBIG, $"Image '{image.File.FileName}' can't have {length} bytes: clusters of {_geometry.ClusterLength} bytes allow {(MaxL1Bytes / 8L) << Math.Min(_geometry.L1Shift, 40)}");
        }

        if (header.SnapshotCount > 0 && header.Version < 3)
        {
            throw new ErrnoException(Errno.ENOTSUP, "Can't resize a v2 image which has snapshots");
        }

        await image.BeginChangeAsync();

        // A virtual machine's state that the disk would grow over, or leave behind, goes.
        await eraser.DropAsync(image.VmStateStart, (long)image.Map.L1.Count << _geometry.L1Shift);
        await image.Bitmaps.ResizeAsync(length);
        if (length < header.Size)
        {
            await ShrinkAsync(length, preallocation);
        }
        else
        {
            await GrowAsync(header.Size, length);
            await PreallocateAsync(header.Size, length, preallocation);
        }

        if (_geometry.HasDataFile && length != image.Data.Length && (image.Data.Node.Features & BlockFeatures.Resize) != 0)
        {
            bool reserves = preallocation is Preallocation.Falloc or Preallocation.Full;
            await image.Data.Node.ResizeAsync(length, reserves ? preallocation : Preallocation.Off);
        }

        await image.FlushAsync();
    }

    private async IoTask ShrinkAsync(long length, Preallocation preallocation)
    {
        if (preallocation != Preallocation.Off)
        {
            throw new OptionException("Preallocation can't be used for shrinking an image");
        }

        long first = _geometry.AlignUp(length);
        await eraser.DropAsync(first, _geometry.AlignUp(image.Length));

        // A later growth must not bring back what the last cluster had behind the new end.
        if (length < first && first <= _geometry.AlignUp(image.Length))
        {
            await eraser.WriteZeroesAsync(length, Math.Min(first, image.Length) - length, ZeroFlags.None);
        }

        image.File.Signal(BlockEvents.FreeL2);

        // The L1 table keeps its length: entries that are zero harm nobody, and the image may grow again.
        for (int index = (int)_geometry.L1EntriesFor(length); index < image.Map.L1.Count; index++)
        {
            image.L2Tables.Drop(index);
        }

        image.Header.ChangeMap(image.Map.L1.Offset, image.Map.L1.Count, length);
        image.File.Signal(BlockEvents.ClearL1);
        await image.Tables.WriteAllAsync();
        await image.File.FlushAsync();
        await image.TrimFileAsync();
    }

    // The file says the new size when what is new reads as zeroes; before, a crash would show what the backing file has there.
    private async IoTask GrowAsync(long oldLength, long length)
    {
        long size = oldLength;
        image.Header.HeldSize = oldLength;
        try
        {
            int needed = (int)_geometry.L1EntriesFor(length);
            if (needed > image.Map.L1.Count)
            {
                await L1Growth.GrowAsync(image, needed, length);
            }
            else
            {
                image.Header.ChangeMap(image.Map.L1.Offset, image.Map.L1.Count, length);
            }

            await ZeroGrowthAsync(oldLength, length);
            size = length;
        }
        finally
        {
            image.Header.HeldSize = null;
            image.Header.ChangeMap(image.Map.L1.Offset, image.Map.L1.Count, size);
        }
    }

    // New bytes read as zeroes, whatever the backing file has there.
    private async IoTask ZeroGrowthAsync(long oldLength, long length)
    {
        long backed = Math.Min(image.Backing?.Node.Length ?? 0, length);
        if (backed > oldLength)
        {
            await eraser.WriteZeroesAsync(oldLength, backed - oldLength, ZeroFlags.None);
        }
        else if (_geometry.InCluster(oldLength) != 0 && !await eraser.IsZeroAsync(oldLength, Math.Min(_geometry.AlignUp(oldLength), length) - oldLength))
        {
            await eraser.WriteZeroesAsync(oldLength, Math.Min(_geometry.AlignUp(oldLength), length) - oldLength, ZeroFlags.None);
        }
    }

    private async IoTask PreallocateAsync(long from, long to, Preallocation preallocation)
    {
        if (preallocation == Preallocation.Off)
        {
            return;
        }

        // The cluster of the old end may show bytes of the backing file.
        long end = _geometry.AlignUp(to);
        for (long at = image.Backing is null ? _geometry.AlignDown(from) : _geometry.AlignUp(from); at < end;)
        {
            await image.BeginChangeAsync();
            await image.L2Tables.EnsureAsync(at);
            long tableEnd = Math.Min(end, ((at >> _geometry.L1Shift) + 1) << _geometry.L1Shift);
            Mapping mapping = await image.MapAsync(at, tableEnd - at);
            if (mapping.Kind is not (ClusterKind.Unallocated or ClusterKind.Zero))
            {
                await ExtendFileAsync(mapping, preallocation);
                at = _geometry.AlignUp(at + mapping.Length);
                continue;
            }

            if (image.Encryption is not null && _geometry.Version < 3)
            {
                at += await StoreZeroesAsync(at, Math.Min(at + mapping.Length, to) - at);
                at = _geometry.AlignUp(at);
                continue;
            }

            ClusterRun run = await image.AllocateDataAsync(at, _geometry.ClustersFor(mapping.Length));
            if (!_geometry.HasDataFile)
            {
                await PrepareSpaceAsync(run, preallocation);
                image.Tables.NeedBarrier();
            }

            await writer.LinkAsync(at, run.Count << _geometry.ClusterBits, run.First << _geometry.ClusterBits, isReserved: true);
            at += run.Count << _geometry.ClusterBits;
        }
    }

    // Without zero clusters, the space of an encrypted image must hold zeroes that are encrypted.
    private async IoTask<long> StoreZeroesAsync(long offset, long length)
    {
        using IoBuffer zeroes = IoBuffer.Zeroed((int)Math.Min(length, 1 << 20));
        await writer.WriteAsync(offset, zeroes.Vector);
        return zeroes.Length;
    }

    // Where the cluster of the old end was stored no further than it was written.
    private async IoTask ExtendFileAsync(Mapping mapping, Preallocation preallocation)
    {
        long end = _geometry.AlignUp(mapping.HostOffset + mapping.Length);
        bool isShort = mapping.HasHost && image.File.Length < end && !_geometry.HasDataFile && (image.File.Node.Features & BlockFeatures.Resize) != 0;
        if (isShort)
        {
            await image.File.Node.ResizeAsync(end, preallocation == Preallocation.Metadata ? Preallocation.Off : preallocation);
        }
    }

    private async IoTask PrepareSpaceAsync(ClusterRun run, Preallocation preallocation)
    {
        long offset = run.First << _geometry.ClusterBits;
        long length = run.Count << _geometry.ClusterBits;
        switch (preallocation)
        {
            case Preallocation.Full:
                using (IoBuffer zeroes = IoBuffer.Zeroed((int)Math.Min(length, 1 << 20)))
                {
                    for (long done = 0; done < length; done += zeroes.Length)
                    {
                        await image.File.WriteAsync(offset + done, zeroes.Slice(0, (int)Math.Min(zeroes.Length, length - done)));
                    }
                }

                break;
            case Preallocation.Falloc:
                await image.File.WriteZeroesAsync(offset, length);
                break;
            default:
                // The space stays a hole, but it must be inside of the file and read as zeroes.
                if (!run.IsFresh)
                {
                    await image.File.WriteZeroesAsync(offset, length, ZeroFlags.MayUnmap);
                }
                else if (image.File.Length < offset + length && (image.File.Node.Features & BlockFeatures.Resize) != 0)
                {
                    await image.File.ResizeAsync(offset + length);
                }

                break;
        }
    }
}
