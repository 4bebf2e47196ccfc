using System.Runtime.InteropServices;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>SIGINT, SIGQUIT, SIGTERM and SIGHUP as a token: the first asks a command to stop, a second one ends the process at once.</summary>
internal sealed class Interrupts : IDisposable
{
    private readonly CancellationTokenSource _source = new();
    private readonly List<PosixSignalRegistration> _registrations = [];

    public Interrupts()
    {
        // A script's background jobs start with SIGINT and SIGQUIT ignored, and the runtime would leave it so; a server must still stop by it.
        Libc.signal(Libc.SIGINT, Libc.SIG_DFL);
        Libc.signal(Libc.SIGQUIT, Libc.SIG_DFL);
        Libc.signal(Libc.SIGTERM, Libc.SIG_DFL);
        foreach (PosixSignal signal in (ReadOnlySpan<PosixSignal>)[PosixSignal.SIGINT, PosixSignal.SIGQUIT, PosixSignal.SIGTERM, PosixSignal.SIGHUP])
        {
            _registrations.Add(PosixSignalRegistration.Create(signal, OnSignal));
        }
    }

    public CancellationToken Token => _source.Token;

    /// <summary>What a shell shows for a program that the signal ended; 0 when none came.</summary>
    public int ExitStatus { get; private set; }

    /// <summary>Called before a second signal ends the process; from any thread.</summary>
    public Action? LastAct { get; set; }

    public void Dispose()
    {
        _registrations.ForEach(r => r.Dispose());
        _source.Dispose();
    }

    private void OnSignal(PosixSignalContext context)
    {
        context.Cancel = true;
        if (ExitStatus != 0)
        {
            LastAct?.Invoke();
            Environment.Exit(ExitStatus);
        }

        ExitStatus = 128 + context.Signal switch
        {
            PosixSignal.SIGINT => 2,
            PosixSignal.SIGQUIT => 3,
            PosixSignal.SIGHUP => 1,
            _ => 15,
        };
        _source.Cancel();
    }
}
