using System.Globalization;
using Ingot.Exports;
using Ingot.Io;

namespace Ingot.Cli;

/// <summary>Shows on a terminal what an export does, once a second, until somebody asks the program to stop.</summary>
internal static class StatusLine
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    /// <summary>Waits for the signal; the screen is only touched when it is a terminal.</summary>
    /// <param name="context">Where to print.</param>
    /// <param name="export">What to show.</param>
    /// <param name="stop">The signal.</param>
    /// <returns>The task.</returns>
    public static async IoTask ShowUntilAsync(CommandContext context, Export export, CancellationToken stop)
    {
        var stopped = new IoCompletionSource();
        EventLoop loop = EventLoop.Current;
        using CancellationTokenRegistration registration = stop.Register(() => loop.Post(stopped.SetResult));
        if (context.IsTerminal && !context.IsQuiet)
        {
            ShowAsync(context, export, stopped).Spawn();
        }

        await stopped.Task;
        if (context.IsTerminal && !context.IsQuiet)
        {
            context.Out.Write("\r\u001b[K");
        }
    }

    private static async IoTask ShowAsync(CommandContext context, Export export, IoCompletionSource stopped)
    {
        ExportStatistics before = export.Statistics;
        while (!stopped.IsDone)
        {
            await EventLoop.Current.DelayAsync(Interval);
            if (stopped.IsDone)
            {
                break;
            }

            ExportStatistics now = export.Statistics;
            context.Out.Write($"\r{Describe(before, now)}\u001b[K");
            context.Out.Flush();
            before = now;
        }
    }

    private static string Describe(ExportStatistics before, ExportStatistics now)
    {
        const double Mega = 1e6;
        double read = (now.BytesRead - before.BytesRead) / Mega;
        double written = (now.BytesWritten - before.BytesWritten) / Mega;
        string state = now.IsConnected ? "connected" : "waiting for a client";
        string errors = now.Errors == 0 ? "" : $", {now.Errors} errors";
        return string.Create(CultureInfo.InvariantCulture, $"{state}: {now.Requests - before.Requests} IOPS, {read:F1} MB/s read, {written:F1} MB/s written{errors}");
    }
}
