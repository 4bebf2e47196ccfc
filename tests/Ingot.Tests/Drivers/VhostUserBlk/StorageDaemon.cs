using System.Diagnostics;
using Xunit;

namespace Ingot.Tests.Drivers.VhostUserBlk;

/// <summary>A real qemu-storage-daemon that serves one raw image on a socket of its own directory.</summary>
internal sealed class StorageDaemon : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("ingot-qsd-");
    private readonly Process _process;

    private StorageDaemon(long size, string export, string blockdev)
    {
        ImagePath = Path.Combine(_directory.FullName, "disk.raw");
        SocketPath = Path.Combine(_directory.FullName, "disk.sock");
        using (FileStream image = File.Create(ImagePath))
        {
            image.SetLength(size);
        }

        _process = Start(export, blockdev);
    }

    public string ImagePath { get; }

    public string SocketPath { get; }

    /// <summary>Starts a daemon, or skips the test where it is not installed.</summary>
    public static StorageDaemon StartOrSkip(long size, string export = "writable=on,num-queues=2", string blockdev = "")
    {
        bool installed = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(d => File.Exists(Path.Combine(d, "qemu-storage-daemon")));
        Assert.SkipUnless(installed, "qemu-storage-daemon is not installed");
        return new StorageDaemon(size, export, blockdev);
    }

    public byte[] ReadImage(long offset, int length)
    {
        using FileStream image = File.OpenRead(ImagePath);
        var bytes = new byte[length];
        image.Position = offset;
        image.ReadExactly(bytes);
        return bytes;
    }

    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            Kill();
        }

        _process.Dispose();
        _directory.Delete(recursive: true);
    }

    private Process Start(string export, string blockdev)
    {
        var info = new ProcessStartInfo("qemu-storage-daemon") { RedirectStandardError = true };
        string pidFile = Path.Combine(_directory.FullName, "pid");
        foreach (string argument in (string[])[
            "--blockdev", $"driver=file,node-name=f,filename={ImagePath},discard=unmap{blockdev}",
            "--blockdev", "driver=raw,node-name=n,file=f",
            "--export", $"type=vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path={SocketPath},{export}",
            "--pidfile", pidFile])
        {
            info.ArgumentList.Add(argument);
        }

        Process process = Process.Start(info)!;
        // The pid file is written when the exports are up.
        while (!File.Exists(pidFile) && !process.HasExited)
        {
            Thread.Yield();
        }

        return process.HasExited ? throw new InvalidOperationException(process.StandardError.ReadToEnd()) : process;
    }
}
