using System.Runtime.InteropServices;
using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.File;

/// <summary>Size and allocation of regular files: the calls that may block, off the loop.</summary>
internal static class FileSpace
{
    internal static async IoTask ResizeAsync(FileDescriptor fd, string name, long oldLength, long length, Preallocation preallocation)
    {
        if (preallocation == Preallocation.Metadata)
        {
            throw new OptionException("Unsupported preallocation mode: metadata");
        }

        await Offload.Run(() =>
        {
            if (preallocation == Preallocation.Falloc && length > oldLength)
            {
                Check(Libc.fallocate(fd.Value, 0, oldLength, length - oldLength), $"Could not preallocate {length - oldLength} bytes of '{name}'");
            }

            Check(Libc.ftruncate(fd.Value, length), $"Could not resize '{name}' to {length} bytes");
            return true;
        });
        if (preallocation == Preallocation.Full && length > oldLength)
        {
            await FillAsync(fd, oldLength, length);
        }
    }

    /// <summary>
    /// Zeroes up to one block at the start. A new file then has a first block (how O_DIRECT must be aligned can't be found out on a hole), and a device
    /// that is used again has no header.
    /// </summary>
    internal static async IoTask ZeroStartAsync(FileDescriptor fd, long length)
    {
        const int Block = 4096;
        using IoBuffer zeroes = IoBuffer.Zeroed(Block);
        await EventLoop.Current.Ring.WriteAsync(fd, 0, zeroes.Slice(0, (int)Math.Min(length, Block)));
    }

    /// <summary>The extent at an offset, found by SEEK_DATA and SEEK_HOLE; a file system without them calls everything data.</summary>
    internal static (long Length, bool IsData) ExtentAt(FileDescriptor fd, long offset, long length)
    {
        long data = Libc.lseek(fd.Value, offset, Libc.SEEK_DATA);
        if (data < 0)
        {
            // ENXIO: nothing but a hole up to the end.
            return (length, (Errno)Marshal.GetLastPInvokeError() != Errno.ENXIO);
        }

        if (data > offset)
        {
            return (Math.Min(length, data - offset), false);
        }

        long hole = Libc.lseek(fd.Value, offset, Libc.SEEK_HOLE);
        return hole <= offset ? (length, true) : (Math.Min(length, hole - offset), true);
    }

    private static async IoTask FillAsync(FileDescriptor fd, long from, long to)
    {
        using IoBuffer zeroes = IoBuffer.Zeroed(1 << 20);
        while (from < to)
        {
            int count = (int)Math.Min(to - from, zeroes.Length);
            await EventLoop.Current.Ring.WriteAsync(fd, from, zeroes.Slice(0, count));
            from += count;
        }

        await EventLoop.Current.Ring.SyncAsync(fd);
    }

    private static void Check(int result, string what)
    {
        if (result < 0)
        {
            throw ErrnoException.ForLastError(what);
        }
    }
}
