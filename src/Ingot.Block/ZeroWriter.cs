using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Block;

/// <summary>Zeroes for nodes that can only write data.</summary>
public static class ZeroWriter
{
    private const int ChunkLength = 1 << 20;

    /// <summary>Writes zeroes from a buffer.</summary>
    /// <param name="node">Where to.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="flags">NoFallback forbids it.</param>
    /// <returns>The task.</returns>
    public static async IoTask WriteAsync(BlockNode node, long offset, long length, ZeroFlags flags)
    {
        if ((flags & ZeroFlags.NoFallback) != 0)
        {
            throw new ErrnoException(Errno.EOPNOTSUPP, $"Node '{node.Name}' can't write zeroes without writing data");
        }

        using IoBuffer zeroes = IoBuffer.Zeroed((int)Math.Min(Math.Max(length, 1), ChunkLength));
        WriteFlags writeFlags = (flags & ZeroFlags.Fua) != 0 ? WriteFlags.Fua : WriteFlags.None;
        for (long done = 0; done < length;)
        {
            int count = (int)Math.Min(length - done, zeroes.Length);
            await node.WriteAsync(offset + done, zeroes.Slice(0, count), writeFlags);
            done += count;
        }
    }
}
