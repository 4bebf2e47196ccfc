namespace Ingot.Linux;

/// <summary>Questions to a kernel block device.</summary>
public static unsafe class BlockDeviceControl
{
    /// <summary>The size of a block device.</summary>
    /// <param name="fd">An open block device.</param>
    /// <param name="name">Its name, for the message.</param>
    /// <returns>Bytes.</returns>
    /// <exception cref="ErrnoException">It is none.</exception>
    public static long Size(FileDescriptor fd, string name)
    {
        ulong size;
        return Libc.ioctl(fd.Value, Libc.BLKGETSIZE64, &size) == 0 ? (long)size : throw ErrnoException.ForLastError($"Could not get the size of device '{name}'");
    }

    /// <summary>The logical sector size of a block device.</summary>
    /// <param name="fd">An open block device.</param>
    /// <returns>Bytes; 512 when the device does not tell.</returns>
    public static int LogicalSectorSize(FileDescriptor fd)
    {
        int size;
        return Libc.ioctl(fd.Value, Libc.BLKSSZGET, &size) == 0 && size > 0 ? size : 512;
    }

    /// <summary>Whether a block device is a drive for optical media.</summary>
    /// <param name="fd">An open block device; opened without waiting for a medium.</param>
    /// <returns>True when it knows the state of its tray.</returns>
    public static bool IsOpticalDrive(FileDescriptor fd) => Libc.ioctl(fd.Value, Libc.CDROM_DRIVE_STATUS, (void*)Libc.CDSL_CURRENT) >= 0;
}
