using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.File;

/// <summary>Drivers "file", "host_device" and "host_cdrom": a regular file, a kernel block device, a drive with a medium that may be missing.</summary>
/// <param name="name">The driver's name.</param>
public sealed class FileDriver(string name) : BlockDriver
{
    private const int Sector = 512;
    private const string DevicePrefix = "host_device:";

    private readonly bool _isDevice = name != "file";

    /// <inheritdoc/>
    public override string Name => name;

    /// <inheritdoc/>
    public override bool IsProtocol => true;

    /// <summary>The driver for what a path leads to.</summary>
    /// <param name="path">The path.</param>
    /// <returns>The driver's name.</returns>
    public static string KindOf(string path)
    {
        uint? type = Libc.TryStat(path)?.Mode & Libc.S_IFMT;
        if (type != Libc.S_IFBLK)
        {
            return type == Libc.S_IFCHR ? "host_device" : "file";
        }

        int fd = Libc.open(path, Libc.O_RDONLY | Libc.O_NONBLOCK | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            return "host_device"; // whose opening tells why
        }

        using var device = new FileDescriptor(fd);
        return BlockDeviceControl.IsOpticalDrive(device) ? "host_cdrom" : "host_device";
    }

    /// <inheritdoc/>
    public override IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        OptionSet options = request.Options;
        string path = StripPrefix(options.TakeRequired("filename"));
        if (path.Length == 0)
        {
            throw new OptionException($"The '{Name}' block driver requires a file name");
        }

        string engine = options.TakeWord("aio", "threads", "io_uring", "native") ?? "auto";
        string locking = options.TakeWord("locking", "auto", "on", "off") ?? "auto";
        options.TakeBool("drop-cache");
        options.TakeBool("x-check-cache-dropped");
        options.TakeString("pr-manager");
        if (engine == "io_uring" && EventLoop.Current.Ring.EngineName != "io_uring")
        {
            throw new OptionException("aio=io_uring was specified, but io_uring is not permitted here; aio=threads works everywhere");
        }

        bool isNative = engine == "native" || (engine == "auto" && (request.Flags & OpenFlags.NativeAio) != 0);
        if (isNative && (request.Flags & OpenFlags.Direct) == 0)
        {
            throw new OptionException("aio=native was specified, but it requires cache.direct=on, which was not specified.");
        }

        if (Libc.TryStat(path) is { } before && (before.Mode & Libc.S_IFMT) == Libc.S_IFIFO)
        {
            CheckType(path, before); // opening it would wait for somebody at its other end
        }

        FileDescriptor fd = OpenDescriptor(path, request.Flags, name == "host_cdrom" ? Libc.O_NONBLOCK : 0);
        FileDescriptor? locks = null;
        try
        {
            return new IoTask<BlockNode>(CreateNode(request, fd, path, engine == "threads", locking, ref locks));
        }
        catch
        {
            locks?.Dispose();
            fd.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<(string Name, string Help)> CreateOptions => _isDevice
        ? []
        :
        [
            ("extent_size_hint", "Extent size hint for the image file, 0 to disable"),
            ("nocow", "Turn off copy-on-write (valid only on btrfs)"),
            ("preallocation", "Preallocation mode (allowed values: off, falloc, full)"),
            ("size", "Virtual disk size"),
        ];

    /// <inheritdoc/>
    public override IoTask CreateAsync(CreateRequest request) => _isDevice ? base.CreateAsync(request) : CreateDiskAsync(request);

    /// <summary>Creates a regular file that is an image by itself: one of whole sectors.</summary>
    /// <param name="request">Name, size and options.</param>
    /// <returns>The task.</returns>
    internal static IoTask CreateDiskAsync(CreateRequest request)
        => CreateFileAsync(request.FileName, request.Size > long.MaxValue - Sector ? request.Size : (request.Size + Sector - 1) / Sector * Sector, request.Options);

    /// <summary>Creates a regular file of a size, replacing what it held.</summary>
    /// <param name="fileName">Its name.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="options">preallocation=off|falloc|full, nocow, extent_size_hint.</param>
    /// <returns>The task.</returns>
    public static async IoTask CreateFileAsync(string fileName, long size, OptionSet options)
    {
        string name = BlockGraph.StripFilePrefix(fileName);
        Preallocation preallocation = TakePreallocation(options);
        options.TakeBool("nocow");
        options.TakeSize("extent_size_hint");
        Libc.FileStatus? before = Libc.TryStat(name);
        bool isDevice = name.StartsWith(DevicePrefix, StringComparison.Ordinal);
        if (isDevice || (before is { } status && (status.Mode & Libc.S_IFMT) == Libc.S_IFBLK))
        {
            await PrepareDeviceAsync(isDevice ? name[DevicePrefix.Length..] : name, size);
            return;
        }

        using FileDescriptor fd = OpenForCreation(name);
        try
        {
            ImageLocks.Take(fd, name, ImagePermissions.Write | ImagePermissions.Resize, ImagePermissions.All & ~(ImagePermissions.Write | ImagePermissions.Resize));
            await FileSpace.ResizeAsync(fd, name, 0, 0, Preallocation.Off);
            await FileSpace.ResizeAsync(fd, name, 0, size, preallocation);
            if (preallocation == Preallocation.Off && size > 0)
            {
                await FileSpace.ZeroStartAsync(fd, size);
            }
        }
        catch
        {
            if (before is null)
            {
                _ = Libc.unlink(name);
            }

            throw;
        }
        finally
        {
            ImageLocks.Release(fd);
        }
    }

    private static Preallocation TakePreallocation(OptionSet options) => options.TakeString("preallocation") switch
    {
        null or "off" => Preallocation.Off,
        "falloc" => Preallocation.Falloc,
        "full" => Preallocation.Full,
        "metadata" => throw new OptionException("Unsupported preallocation mode: metadata"),
        string other => throw new OptionException($"Parameter 'preallocation' does not accept value '{other}'"),
    };

    // A device is used as it is, but the header of an image that it held must not be found later.
    private static async IoTask PrepareDeviceAsync(string name, long size)
    {
        using FileDescriptor device = OpenDevice(name);
        long has = BlockDeviceControl.Size(device, name);
        if (has < size)
        {
            throw new ErrnoException(Errno.ENOSPC, $"Device '{name}' has {has} bytes, too few for {size}");
        }

        await FileSpace.ZeroStartAsync(device, Math.Min(has, BlockGraph.ProbeLength));
    }

    private static FileDescriptor OpenDevice(string name)
    {
        try
        {
            FileDescriptor fd = OpenDescriptor(name, OpenFlags.ReadWrite);
            return (Libc.Stat(fd.Value).Mode & Libc.S_IFMT) == Libc.S_IFBLK ? fd
                : throw new ErrnoException(Errno.EINVAL, $"'host_device' driver requires '{name}' to be either a character or block device");
        }
        catch (ErrnoException e)
        {
            throw new ErrnoException(
                e.Errno,
                "Protocol driver 'host_device' does not support creating new images, so an existing image must be selected as the target; "
                + $"however, opening the given target as an existing image failed: {e.Message}",
                e);
        }
    }

    private static FileDescriptor OpenForCreation(string name)
    {
        int fd = Libc.open(name, Libc.O_RDWR | Libc.O_CREAT | Libc.O_CLOEXEC, 0x1A4 /* 0644 */);
        return fd >= 0 ? new FileDescriptor(fd) : throw ErrnoException.ForLastError($"Could not create '{name}'");
    }

    private static FileDescriptor OpenDescriptor(string path, OpenFlags flags, int more = 0)
    {
        bool direct = (flags & OpenFlags.Direct) != 0;
        int mode = (flags & OpenFlags.ReadWrite) != 0 ? Libc.O_RDWR : Libc.O_RDONLY;
        int fd = Libc.open(path, mode | more | Libc.O_CLOEXEC | (direct ? Libc.O_DIRECT : 0), 0);
        if (fd >= 0)
        {
            return new FileDescriptor(fd);
        }

        var error = ErrnoException.ForLastError($"Could not open '{path}'");
        throw direct && error.Errno == Errno.EINVAL ? new ErrnoException(Errno.EINVAL, $"{error.Message}; the file system may not support O_DIRECT (cache.direct=on)") : error;
    }

    private void CheckType(string path, Libc.FileStatus status)
    {
        uint type = status.Mode & Libc.S_IFMT;
        if (_isDevice ? type is not (Libc.S_IFBLK or Libc.S_IFCHR) : type != Libc.S_IFREG)
        {
            throw new ErrnoException(Errno.EINVAL, $"'{Name}' driver requires '{path}' to be {(_isDevice ? "either a character or block device" : "a regular file")}");
        }
    }

    private FileNode CreateNode(OpenRequest request, FileDescriptor fd, string path, bool threads, string locking, ref FileDescriptor? locks)
    {
        Libc.FileStatus status = Libc.Stat(fd.Value);
        CheckType(path, status);
        if (locking != "off" && (request.Flags & OpenFlags.ForceShare) == 0)
        {
            const ImagePermissions change = ImagePermissions.Write | ImagePermissions.Resize;
            locks = OpenForLocks(fd);
            ImageLocks.Take(locks ?? fd, path, ImagePermissions.ConsistentRead | (request.IsReadWrite ? change : 0), ImagePermissions.All & ~change);
        }

        long length = (status.Mode & Libc.S_IFMT) == Libc.S_IFCHR ? 0 : _isDevice ? SizeOf(fd, path) : status.Size;
        return new FileNode(request.NodeName, Name, path, fd, locks, length, request.Flags, threads);
    }

    // An io_uring that has the file registered is taken down by the kernel some time after its process was killed, and the file with its locks only then:
    // whoever starts the next process at once would be refused. So locks have an open file of their own; a device may not like to be opened twice.
    private FileDescriptor? OpenForLocks(FileDescriptor fd)
    {
        int again = _isDevice ? -1 : Libc.open($"/proc/self/fd/{fd.Value}", Libc.O_RDONLY | Libc.O_CLOEXEC, 0);
        return again < 0 ? null : new FileDescriptor(again);
    }

    // A drive without a medium is one of no bytes.
    private long SizeOf(FileDescriptor fd, string path)
    {
        try
        {
            return BlockDeviceControl.Size(fd, path);
        }
        catch (ErrnoException e) when (name == "host_cdrom" && e.Errno == Errno.ENOMEDIUM)
        {
            return 0;
        }
    }

    private string StripPrefix(string fileName)
    {
        string prefix = Name + ":";
        return fileName.StartsWith(prefix, StringComparison.Ordinal) ? fileName[prefix.Length..] : BlockGraph.StripFilePrefix(fileName);
    }
}
