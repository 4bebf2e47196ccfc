using System.Diagnostics;
using System.Globalization;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>
/// --daemonize. A runtime with threads can't fork, so the program starts itself once more; the first process ends when the second one says that everything is up,
/// and ends with its error when it never does.
/// </summary>
internal static class Background
{
    private const string ChildMark = "INGOT_DAEMON_CHILD";
    private const char Ready = 'R';

    /// <summary>True in the process that stays.</summary>
    public static bool IsChild { get; } = Environment.GetEnvironmentVariable(ChildMark) is not null;

    /// <summary>Starts the process that stays, with the same arguments, and waits until it is up or has failed.</summary>
    /// <returns>The exit status for the starter.</returns>
    public static int Start()
    {
        string[] line = Environment.GetCommandLineArgs();
        if (NativeArguments.Take(line).FirstOrDefault(NativeText.HasEscapes) is { } word)
        {
            throw new ErrnoException(Errno.EILSEQ, $"--daemonize can't hand over '{word}', which is not valid UTF-8");
        }

        var start = new ProcessStartInfo(Environment.ProcessPath!, ArgumentsOf(line)) { RedirectStandardOutput = true };
        start.Environment[ChildMark] = "1";
        using Process child = Process.Start(start)!;
        for (int c = child.StandardOutput.Read(); c >= 0; c = child.StandardOutput.Read())
        {
            if (c == Ready)
            {
                return 0;
            }
        }

        child.WaitForExit();
        return child.ExitCode == 0 ? 1 : child.ExitCode;
    }

    /// <summary>Tells the starter that everything is up, and leaves its session, directory and terminal.</summary>
    public static void Detach()
    {
        using (var output = new DescriptorStream(1))
        {
            output.WriteByte((byte)Ready);
        }

        Libc.setsid();
        Environment.CurrentDirectory = "/";
        int nothing = Libc.open("/dev/null", Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        foreach (int fd in CopiesOfStandardStreams())
        {
            Libc.dup2(nothing, fd);
        }

        Libc.close(nothing);
    }

    // The runtime writes to copies of descriptors 1 and 2: as long as one is open, whoever reads our starter's output waits for its end.
    private static List<int> CopiesOfStandardStreams()
    {
        const string directory = "/proc/self/fd";
        string?[] standard = [TargetOf($"{directory}/0"), TargetOf($"{directory}/1"), TargetOf($"{directory}/2")];
        return [.. Directory.GetFileSystemEntries(directory).Where(fd => standard.Contains(TargetOf(fd))).Select(fd => int.Parse(Path.GetFileName(fd), CultureInfo.InvariantCulture))];

        static string? TargetOf(string link) => new FileInfo(link).LinkTarget;
    }

    // Called through a link, the name is part of the message: the word that picks the tool must come back.
    private static IEnumerable<string> ArgumentsOf(string[] line)
        => Path.GetFileName(line[0]).StartsWith("qemu-", StringComparison.Ordinal) ? ["storage-daemon", .. line.Skip(1)] : line.Skip(1);
}
