using System.Text;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>A file with the process id, locked as long as the process lives, so that a second daemon does not take it over; anybody may read it.</summary>
internal sealed class PidFile : IDisposable
{
    private readonly string _path;
    private readonly FileDescriptor _file;

    private PidFile(string path, FileDescriptor file)
    {
        _path = path;
        _file = file;
    }

    public static PidFile Create(string path)
    {
        path = path.Length > 0 ? NativeText.FullPath(path) : throw new ErrnoException(Errno.ENOENT, "cannot create PID file '': No such file or directory");
        int fd = Libc.open(path, Libc.O_RDWR | Libc.O_CREAT | Libc.O_CLOEXEC, 0x1A4 /* 0644 */);
        var file = fd >= 0 ? new FileDescriptor(fd) : throw ErrnoException.ForLastError($"cannot create PID file '{path}'");
        if (!ImageLocks.TryTakeWhole(file))
        {
            file.Dispose();
            throw new ErrnoException(Errno.EAGAIN, $"cannot lock PID file '{path}': another process uses it");
        }

        _ = Libc.ftruncate(fd, 0);
        using var content = new DescriptorStream(fd);
        content.Write(Encoding.ASCII.GetBytes($"{Environment.ProcessId}\n"));
        return new PidFile(path, file);
    }

    public void Dispose()
    {
        _ = Libc.unlink(_path);
        _file.Dispose();
    }
}
