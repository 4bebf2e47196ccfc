using System.Diagnostics;
using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>Images made by the installed QEMU tools, one of each kind, shared by the tests that compare our output with theirs.</summary>
public sealed class PeerImages : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("ingot-cli");

    public PeerImages()
    {
        if (!IsAvailable)
        {
            return;
        }

        var random = new Random(1);
        byte[] data = new byte[300_000];
        random.NextBytes(data);
        using (FileStream raw = File.Create(Path("sparse.raw")))
        {
            raw.Write(data);
            raw.Position = 2 << 20;
            raw.Write(data.AsSpan(0, 70_000));
            raw.SetLength(4 << 20);
        }

        File.WriteAllBytes(Path("odd.raw"), data[..1000]);
        QemuImg("convert", "-O", "qcow2", "-f", "raw", Path("sparse.raw"), Path("v3.qcow2"));
        QemuImg("convert", "-O", "qcow2", "-f", "raw", "-o", "compat=0.10,cluster_size=4k", Path("sparse.raw"), Path("v2.qcow2"));
        QemuImg("convert", "-c", "-O", "qcow2", "-f", "raw", Path("sparse.raw"), Path("compressed.qcow2"));
        QemuImg("create", "-f", "qcow2", "-b", "v3.qcow2", "-F", "qcow2", Path("middle.qcow2"), "6M");
        QemuImg("create", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", Path("top.qcow2"));
        Run("qemu-io", "-f", "qcow2", "-c", "write -z 0 128k", "-c", "write -P 3 3M 200k", Path("middle.qcow2"));
        Run("qemu-io", "-f", "qcow2", "-c", "write -P 4 1M 64k", "-c", "write -z -u 2M 64k", Path("top.qcow2"));
        QemuImg("create", "-f", "qcow2", Path("empty.qcow2"), "1G");
        QemuImg("snapshot", "-c", "before", Path("v2.qcow2"));
    }

    public static bool IsAvailable { get; } = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(d => File.Exists(System.IO.Path.Combine(d, "qemu-img")) && File.Exists(System.IO.Path.Combine(d, "qemu-io")));

    public string Path(string name) => System.IO.Path.Combine(_directory.FullName, name);

    internal CliResult QemuImg(params string[] words) => Run("qemu-img", words);

    public void Dispose() => _directory.Delete(recursive: true);

    private static CliResult Run(string program, params string[] words)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, words) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new CliResult(process.ExitCode, output, error.GetAwaiter().GetResult());
    }
}
