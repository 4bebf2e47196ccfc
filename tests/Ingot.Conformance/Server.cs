using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using Xunit;

namespace Ingot.Conformance;

/// <summary>A server that runs during a test: ours or a peer's. Ended with SIGTERM, and by force if that is not enough.</summary>
internal sealed partial class Server : IAsyncDisposable
{
    private const int SIGINT = 2;
    private const int SIGKILL = 9;
    private const int SIGTERM = 15;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly Process _process;
    private readonly StringBuilder _log = new();

    private Server(Process process, string socket)
    {
        _process = process;
        Socket = socket;
        process.OutputDataReceived += (_, line) => Note(line.Data);
        process.ErrorDataReceived += (_, line) => Note(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
    }

    internal string Socket { get; }

    internal int Id => _process.Id;

    internal bool HasExited => _process.HasExited;

    internal string Log
    {
        get
        {
            lock (_log)
            {
                return _log.ToString();
            }
        }
    }

    /// <summary>ingot serve IMAGE --socket SOCKET OPTIONS, once it accepts connections.</summary>
    internal static Task<Server> Serve(string image, string socket, params string[] options)
        => Start(Programs.Ingot, socket, ["serve", image, "--socket", socket, .. options]);

    /// <summary>Any program that is about to listen on a socket.</summary>
    internal static async Task<Server> Start(string program, string socket, params string[] arguments)
    {
        var server = new Server(Command.Start(program, arguments), socket);
        for (var waited = Stopwatch.StartNew(); !Listens(socket);)
        {
            Assert.False(server._process.HasExited, $"{program} {string.Join(' ', arguments)} ended\n{server.Log}");
            Assert.True(waited.Elapsed < Limit, $"{program} does not listen on {socket}\n{server.Log}");
            await Task.Delay(20);
        }

        return server;
    }

    internal Task<int> Interrupt() => Signal(SIGINT);

    internal Task<int> Terminate() => Signal(SIGTERM);

    internal Task<int> Kill() => Signal(SIGKILL);

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _ = kill(_process.Id, SIGTERM);
            using var limit = new CancellationTokenSource(Limit);
            try
            {
                await _process.WaitForExitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                _process.Kill();
            }
        }

        _process.Dispose();
    }

    private async Task<int> Signal(int signal)
    {
        Assert.Equal(0, kill(_process.Id, signal));
        using var limit = new CancellationTokenSource(Limit);
        await _process.WaitForExitAsync(limit.Token);
        return _process.ExitCode;
    }

    // /proc tells without connecting, which would take the place of the one client that a server serves.
    private static bool Listens(string socket)
        => File.Exists(socket) && File.ReadLines("/proc/net/unix").Any(line => line.EndsWith(" " + socket, StringComparison.Ordinal));

    private void Note(string? line)
    {
        lock (_log)
        {
            _log.AppendLine(line);
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int kill(int pid, int signal);
}
