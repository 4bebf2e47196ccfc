using Ingot.Io;

namespace Ingot.Drivers.Crypto;

/// <summary>
/// Reads and writes what lies encrypted in a file, sector by sector. The cipher text never lies in the caller's memory: a guest could change it on the
/// way and have the key applied to what it likes.
/// </summary>
internal sealed class EncryptedSectors(SectorCipherPool ciphers)
{
    private const int Sector = SectorCipher.SectorSize;
    private const int MaxChunk = 256 * 1024;

    // Whoever writes a part of a sector reads the rest of it first; meanwhile nobody may write there.
    private readonly SharedMutex _writes = new();

    /// <summary>Reads any bytes.</summary>
    /// <param name="file">The file.</param>
    /// <param name="place">Where they lie in it.</param>
    /// <param name="number">The offset by which their sectors are numbered; as far from the start of its sector as the place is.</param>
    /// <param name="data">Where they go.</param>
    internal async IoTask ReadAsync(HostFile file, long place, long number, IoVector data)
    {
        for (long done = 0; done < data.Length;)
        {
            var piece = Piece.At(place + done, data.Length - done);
            IoVector target = data.Slice(done, piece.Length);
            long sector = (number + done - piece.Head) / Sector;
            IoBuffer buffer = BufferPool.Local.Rent(piece.Whole);
            try
            {
                IoVector sectors = buffer.Slice(0, piece.Whole);
                await file.ReadAsync(piece.Start, sectors);
                if (piece.IsWhole)
                {
                    await ciphers.DecryptAsync(sector, sectors, target);
                }
                else
                {
                    await ciphers.DecryptAsync(sector, sectors, sectors);
                    target.CopyFrom(buffer.Slice(piece.Head, piece.Length));
                }
            }
            finally
            {
                BufferPool.Local.Return(buffer);
            }

            done += piece.Length;
        }
    }

    /// <summary>Writes any bytes.</summary>
    /// <param name="file">The file.</param>
    /// <param name="place">Where they lie in it.</param>
    /// <param name="number">The offset by which their sectors are numbered; as far from the start of its sector as the place is.</param>
    /// <param name="data">The bytes.</param>
    /// <param name="flags">Durability.</param>
    internal async IoTask WriteAsync(HostFile file, long place, long number, IoVector data, Block.WriteFlags flags)
    {
        for (long done = 0; done < data.Length;)
        {
            var piece = Piece.At(place + done, data.Length - done);
            long sector = (number + done - piece.Head) / Sector;
            await (piece.IsWhole
                ? WriteWholeAsync(file, piece, sector, data.Slice(done, piece.Length), flags)
                : WritePartAsync(file, piece, sector, data.Slice(done, piece.Length), flags));
            done += piece.Length;
        }
    }

    private async IoTask WriteWholeAsync(HostFile file, Piece piece, long sector, IoVector data, Block.WriteFlags flags)
    {
        await _writes.LockShareAsync();
        IoBuffer buffer = BufferPool.Local.Rent(piece.Whole);
        try
        {
            IoVector sectors = buffer.Slice(0, piece.Whole);
            await ciphers.EncryptAsync(sector, data, sectors);
            await file.WriteAsync(piece.Start, sectors, flags);
        }
        finally
        {
            BufferPool.Local.Return(buffer);
            _writes.UnlockShare();
        }
    }

    private async IoTask WritePartAsync(HostFile file, Piece piece, long sector, IoVector data, Block.WriteFlags flags)
    {
        await _writes.LockAsync();
        IoBuffer buffer = BufferPool.Local.Rent(piece.Whole);
        try
        {
            IoVector sectors = buffer.Slice(0, piece.Whole);
            await file.ReadAsync(piece.Start, sectors);
            await ciphers.DecryptAsync(sector, sectors, sectors);
            buffer.Slice(piece.Head, piece.Length).CopyFrom(data);
            await ciphers.EncryptAsync(sector, sectors, sectors);
            await file.WriteAsync(piece.Start, sectors, flags);
        }
        finally
        {
            BufferPool.Local.Return(buffer);
            _writes.Unlock();
        }
    }

    /// <summary>A part of a request and the whole sectors around it.</summary>
    /// <param name="Start">Where the sectors begin.</param>
    /// <param name="Whole">Bytes of whole sectors.</param>
    /// <param name="Head">Bytes of the first sector in front of the part.</param>
    /// <param name="Length">Bytes of the part.</param>
    private readonly record struct Piece(long Start, int Whole, int Head, int Length)
    {
        internal bool IsWhole => Whole == Length;

        internal static Piece At(long offset, long length)
        {
            int head = (int)(offset % Sector);
            int part = (int)Math.Min(length, MaxChunk - head);
            return new Piece(offset - head, (head + part + Sector - 1) / Sector * Sector, head, part);
        }
    }
}
