using System.Diagnostics;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Runs QEMU's tools, where they are installed.</summary>
internal static class Qemu
{
    internal static bool IsInstalled { get; } = Find("qemu-img") && Find("qemu-io");

    internal static string Img(params string[] arguments) => Run("qemu-img", arguments);

    internal static string Io(string image, params string[] commands) => Run("qemu-io", ["-f", "qcow2", image, .. commands.SelectMany(c => new[] { "-c", c })]);

    /// <summary>The image as raw bytes, as qemu-img reads it.</summary>
    internal static byte[] ReadAll(TempDirectory directory, string image, params string[] more)
    {
        string raw = directory["qemu-read.raw"];
        Img(["convert", .. more, "-O", "raw", image, raw]);
        byte[] bytes = System.IO.File.ReadAllBytes(raw);
        System.IO.File.Delete(raw);
        return bytes;
    }

    /// <summary>Fails the test unless qemu-img check finds the image faultless.</summary>
    internal static void Check(string image)
    {
        string output = Img("check", image);
        Assert.Contains("No errors were found", output);
    }

    private static bool Find(string tool)
        => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(d => System.IO.File.Exists(Path.Combine(d, tool)));

    // Creating a LUKS volume, QEMU measures how fast the machine is, and gives up when it is too busy to tell.
    private static string Run(string tool, string[] arguments)
    {
        for (int tries = 50; ; tries--)
        {
            (int status, string output) = RunOnce(tool, arguments);
            if (status == 0 || tries == 0 || !output.Contains("accurate CPU usage", StringComparison.Ordinal))
            {
                Assert.True(status == 0, $"{tool} {string.Join(' ', arguments)} exits with {status}: {output}");
                return output;
            }
        }
    }

    private static (int Status, string Output) RunOnce(string tool, string[] arguments)
    {
        var start = new ProcessStartInfo(tool, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd() + errors.Result;
        process.WaitForExit();
        return (process.ExitCode, output);
    }
}
