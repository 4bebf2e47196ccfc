using Ingot.Block;
using Ingot.Drivers;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>
/// The file of a new image while it is not complete: it has another name in the same directory until <see cref="Commit"/> gives it its own, so that
/// what a failure, a signal or a power cut leaves behind never looks like an image, and an older file of that name lives until then.
/// Devices, links and whatever is no plain file are written in place.
/// </summary>
internal sealed class NewFile : IDisposable
{
    private readonly string _name;
    private readonly UnixFileMode? _mode;
    private bool _isOpen = true;

    private NewFile(string name, string path, UnixFileMode? mode)
    {
        _name = name;
        Path = path;
        _mode = mode;
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
        if (path.Length == 0 || HasProtocol(path) || new FileInfo(path).LinkTarget is not null)
        {
            return new NewFile(name, name, null);
        }

        UnixFileMode? mode = null;
        if (Libc.TryStat(path) is { } status)
        {
            if ((status.Mode & Libc.S_IFMT) != Libc.S_IFREG)
            {
                return new NewFile(name, name, null);
            }

            // Refuses what another process writes to, as opening it in place would.
            BlockNode old = await graph.OpenFileAsync(path, "raw", OpenFlags.ReadWrite);
            await old.CloseAsync();
            mode = (UnixFileMode)(status.Mode & ~Libc.S_IFMT);
        }

        string directory = System.IO.Path.GetDirectoryName(path) ?? "";
        return IsWritable(directory) ? new NewFile(name, System.IO.Path.Combine(directory, TemporaryName(path)), mode) : new NewFile(name, name, null);
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
            File.SetUnixFileMode(Path, mode);
        }

        if (IsTemporary && Libc.rename(Path, BlockGraph.StripFilePrefix(_name)) < 0)
        {
            throw ErrnoException.ForLastError($"Could not rename '{Path}' to '{_name}'");
        }

        _isOpen = false;
    }

    /// <summary>Removes what is not complete. Any thread.</summary>
    public void Dispose()
    {
        if (!_isOpen)
        {
            return;
        }

        _isOpen = false;
        if (IsTemporary || (Libc.TryStat(Path) is { } status && (status.Mode & Libc.S_IFMT) == Libc.S_IFREG))
        {
            _ = Libc.unlink(Path);
        }
    }

    private bool IsTemporary => Path != _name;

    private static bool HasProtocol(string path)
    {
        int colon = path.IndexOf(':');
        int slash = path.IndexOf('/');
        return colon > 0 && (slash < 0 || colon < slash);
    }

    private static string TemporaryName(string path)
    {
        const int KeepLength = 100;
        string file = System.IO.Path.GetFileName(path);
        return $".{(file.Length > KeepLength ? file[..KeepLength] : file)}.{Random.Shared.Next():x8}.part";
    }

    // access(2) would do, but a missing directory must be reported by the driver that creates the file, under the name that the user knows.
    private static bool IsWritable(string directory) => Libc.access(directory.Length == 0 ? "." : directory, Libc.W_OK) == 0;
}
