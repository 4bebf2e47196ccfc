using System.Runtime.InteropServices;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>
/// The file of a new image while it is not complete: it has another name in the same directory until <see cref="Commit"/> gives it its own, so that
/// what a failure, a signal or a power cut leaves behind never looks like an image, and an older file of that name lives until then.
/// Devices, links, whatever is no plain file, and files that another one of that name would not be the same as, are written in place.
/// </summary>
internal sealed class NewFile : IDisposable
{
    private const ImagePermissions Changes = ImagePermissions.Write | ImagePermissions.Resize;

    private readonly string _name;
    private readonly uint? _mode;
    private readonly bool _isOurs;
    private FileDescriptor? _old; // the file to be replaced, locked: nobody may write to what is about to go
    private bool _isOpen = true;

    private NewFile(string name, string path, uint? mode, bool isOurs)
    {
        _name = name;
        Path = path;
        _mode = mode;
        _isOurs = isOurs;
    }

    /// <summary>Where to write.</summary>
    public string Path { get; }

    /// <summary>Chooses the place.</summary>
    /// <param name="graph">The way to open what is there already.</param>
    /// <param name="name">The name as the user gave it.</param>
    /// <returns>The file; nothing is made yet.</returns>
    /// <exception cref="ErrnoException">A file of that name can't be replaced: somebody uses it.</exception>
    public static async IoTask<NewFile> PrepareAsync(BlockGraph graph, string name)
    {
        string path = BlockGraph.StripFilePrefix(name);
        if (path.Length == 0 || BlockGraph.HasProtocol(path) || Libc.IsLink(path))
        {
            return InPlace(name, isOurs: path != name && Libc.TryStat(path) is null);
        }

        string directory = System.IO.Path.GetDirectoryName(path) ?? "";
        directory = directory.Length == 0 ? "." : directory;
        uint? mode = null;
        FileDescriptor? locked = null;
        if (Libc.TryStat(path) is { } status)
        {
            if (!IsReplaceable(status, directory))
            {
                return InPlace(name, isOurs: false);
            }

            // Refuses what another process writes to, as opening it in place would.
            BlockNode old = await graph.OpenFileAsync(path, "raw", OpenFlags.ReadWrite);
            await old.CloseAsync();
            locked = Lock(path);
            mode = status.Mode & ~Libc.S_IFMT;
        }

        // access(2) would do, but a missing directory must be reported by the driver that creates the file, under the name that the user knows.
        if (Libc.access(directory, Libc.W_OK) != 0)
        {
            locked?.Dispose(); // the one that writes in place takes locks of its own
            return InPlace(name, isOurs: mode is null);
        }

        string temporary = System.IO.Path.Combine(System.IO.Path.GetDirectoryName(path) ?? "", TemporaryName(path));
        return new NewFile(name, temporary, mode, isOurs: true) { _old = locked };
    }

    /// <summary>A message about the file as the user knows it.</summary>
    /// <param name="message">A message that may name the temporary file.</param>
    /// <returns>The message with the name that was given.</returns>
    public string Rename(string message) => IsTemporary ? message.Replace(Path, _name, StringComparison.Ordinal) : message;

    /// <summary>Gives the complete file its name.</summary>
    public void Commit()
    {
        if (_mode is { } mode)
        {
            _ = Libc.chmod(Path, mode);
        }

        if (IsTemporary)
        {
            Replace(BlockGraph.StripFilePrefix(_name));
        }

        _isOpen = false;
        _old?.Dispose();
    }

    /// <summary>An error that names the file as the user does.</summary>
    /// <param name="e">The error as it came.</param>
    /// <returns>One with the name in place of the temporary one.</returns>
    public ErrnoException Named(ErrnoException e) => IsTemporary ? new ErrnoException(e.Errno, Rename(e.Message), e) : e;

    /// <summary>Removes what is not complete. Any thread.</summary>
    public void Dispose()
    {
        if (!_isOpen)
        {
            return;
        }

        _isOpen = false;
        _old?.Dispose();
        if (_isOurs)
        {
            _ = Libc.unlink(BlockGraph.StripFilePrefix(Path));
        }
    }

    private bool IsTemporary => Path != _name;

    // Where there was no file at first, one that has come meanwhile is somebody else's.
    private void Replace(string target)
    {
        int result = _old is null ? Libc.renameat2(Libc.AT_FDCWD, Path, Libc.AT_FDCWD, target, Libc.RENAME_NOREPLACE) : Libc.rename(Path, target);
        if (result < 0 && _old is null && Marshal.GetLastPInvokeError() == (int)Errno.EINVAL)
        {
            result = Libc.rename(Path, target); // the file system knows no other way
        }

        if (result < 0)
        {
            throw ErrnoException.ForLastError(_old is null ? $"Could not make '{_name}'" : $"Could not replace '{_name}'");
        }
    }

    private static FileDescriptor Lock(string path)
    {
        int fd = Libc.open(path, Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        var file = new FileDescriptor(fd >= 0 ? fd : throw ErrnoException.ForLastError($"Could not open '{path}'"));
        try
        {
            ImageLocks.Take(file, path, ImagePermissions.ConsistentRead | Changes, ImagePermissions.All & ~Changes);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static NewFile InPlace(string name, bool isOurs) => new(name, name, null, isOurs);

    // Whether a new file can take the place of one: its other names, its owner and group must not be lost, and what is mounted can't be renamed over.
    private static bool IsReplaceable(Libc.FileStatus file, string directory)
    {
        const uint S_ISGID = 0x400;
        if ((file.Mode & Libc.S_IFMT) != Libc.S_IFREG || file.Links != 1 || file.IsMountPoint || Libc.TryStat(directory) is not { } parent)
        {
            return false;
        }

        uint group = (parent.Mode & S_ISGID) != 0 ? parent.Group : Libc.getegid();
        return file.Owner == Libc.geteuid() && file.Group == group && file.Device == parent.Device;
    }

    private static string TemporaryName(string path)
    {
        const int KeepLength = 100;
        string file = System.IO.Path.GetFileName(path);
        return $".{(file.Length > KeepLength ? file[..KeepLength] : file)}.{Random.Shared.Next():x8}.part";
    }
}
