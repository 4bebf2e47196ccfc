using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Ingot.Block;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>Shows how far a command is (-p): a bar with rate and time left on a terminal, plain percent lines in a pipe. Tells it on SIGUSR1 in any case.</summary>
internal sealed class ProgressMeter
{
    private const int BarLength = 30;
    private static readonly TimeSpan RedrawInterval = TimeSpan.FromMilliseconds(100);

    private readonly CommandContext? _context;
    private readonly PosixSignalRegistration _onAsked;
    private readonly long _total;
    private readonly long _started = Stopwatch.GetTimestamp();
    private long _done;
    private long _drawn;
    private double _shown = -1;

    private ProgressMeter(CommandContext context, bool isShown, long total)
    {
        _context = isShown ? context : null;
        _total = total;
        _onAsked = PosixSignalRegistration.Create((PosixSignal)Libc.SIGUSR1, signal =>
        {
            signal.Cancel = true;
            context.Error.Write(Line(PercentOf(Volatile.Read(ref _done)), '\n'));
            context.Error.Flush();
        });
        Draw(0, force: true);
    }

    /// <summary>Starts a meter.</summary>
    /// <param name="context">Where to.</param>
    /// <param name="isWanted">Whether -p was given; -q wins over it.</param>
    /// <param name="total">Bytes in all.</param>
    /// <returns>The meter.</returns>
    public static ProgressMeter Start(CommandContext context, bool isWanted, long total) => new(context, isWanted && !context.IsQuiet, total);

    /// <summary>Shows progress, if enough has happened.</summary>
    /// <param name="done">Bytes done.</param>
    public void Report(long done)
    {
        Volatile.Write(ref _done, done);
        if (_context is not null)
        {
            Draw(done, force: false);
        }
    }

    /// <summary>Shows the end, and goes to the next line.</summary>
    /// <param name="done">Bytes done.</param>
    public void End(long done)
    {
        Draw(done, force: true);
        Break();
    }

    /// <summary>Goes to the next line without a last look: something else is to be printed.</summary>
    public void Break()
    {
        _onAsked.Dispose();
        _context?.Out.WriteLine();
        _context?.Out.Flush();
    }

    private void Draw(long done, bool force)
    {
        if (_context is null)
        {
            return;
        }

        double percent = force && _shown >= 0 && _total <= 0 ? 100 : PercentOf(done);
        if (_context.IsTerminal)
        {
            if (force || Stopwatch.GetElapsedTime(_drawn) >= RedrawInterval)
            {
                _drawn = Stopwatch.GetTimestamp();
                _context.Out.Write($"\r{Bar(percent, done)}\u001b[K");
                _context.Out.Flush();
            }
        }
        else if (force || percent - _shown >= 1)
        {
            _context.Out.Write(Line(percent, '\r'));
            _context.Out.Flush();
        }
        else
        {
            return;
        }

        _shown = percent;
    }

    private static string Line(double percent, char end) => string.Create(CultureInfo.InvariantCulture, $"    ({percent:F2}/100%){end}");

    private double PercentOf(long done) => _total > 0 ? 100.0 * done / _total : 0;

    private string Bar(double percent, long done)
    {
        int filled = (int)(percent / 100 * BarLength);
        double seconds = Stopwatch.GetElapsedTime(_started).TotalSeconds;
        string rate = seconds > 0 ? $"{SizeText.ToHuman((long)(done / seconds))}/s" : "";
        string left = done > 0 ? $"{TimeSpan.FromSeconds(Math.Round(seconds * (_total - done) / done)):h\\:mm\\:ss} left" : "";
        return string.Create(CultureInfo.InvariantCulture, $"[{new string('=', filled)}{new string(' ', BarLength - filled)}] {percent,6:F2}%  {rate,12}  {left}");
    }
}
