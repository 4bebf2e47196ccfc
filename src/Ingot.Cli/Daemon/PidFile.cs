using System.Text;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>A file with the process id, locked as long as the process lives, so that a second daemon does not take it over.</summary>
internal sealed class PidFile : IDisposable
{
    private readonly string _path;
    private readonly FileStream _file;

    private PidFile(string path, FileStream file)
    {
        _path = path;
        _file = file;
    }

    public static PidFile Create(string path)
    {
        path = Path.GetFullPath(path);
        try
        {
            // FileShare.None is an advisory lock on Linux: a second process with the same file fails here.
            var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            file.SetLength(0);
            file.Write(Encoding.ASCII.GetBytes($"{Environment.ProcessId}\n"));
            file.Flush();
            return new PidFile(path, file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ErrnoException(Errno.EACCES, $"cannot create PID file '{path}': {e.Message}", e);
        }
    }

    public void Dispose()
    {
        File.Delete(_path);
        _file.Dispose();
    }
}
