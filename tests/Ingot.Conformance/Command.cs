using System.Diagnostics;
using Xunit;

namespace Ingot.Conformance;

/// <summary>What a finished program left behind.</summary>
internal sealed record Outcome(int Status, string Output, string Error)
{
    internal Outcome Succeeded()
    {
        Assert.True(Status == 0, $"exit status {Status}\n{Output}{Error}");
        return this;
    }

    internal Outcome Failed(params string[] named)
    {
        Assert.True(Status is not 0 and < 128, $"exit status {Status} where a plain failure was due\n{Output}{Error}");
        foreach (string text in named)
        {
            Assert.Contains(text, Error);
        }

        return this;
    }
}

/// <summary>Runs programs to their end, with a limit on their time.</summary>
internal static class Command
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    internal static Task<Outcome> Ingot(params string[] arguments) => Run(Programs.Ingot, arguments);

    internal static async Task<Outcome> Run(string program, params string[] arguments)
    {
        using Process process = Start(program, arguments);
        process.StandardInput.Close();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        using var limit = new CancellationTokenSource(Limit);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{program} {string.Join(' ', arguments)} did not end within {Limit}\n{await output}{await error}");
        }

        return new Outcome(process.ExitCode, await output, await error);
    }

    internal static Process Start(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        return Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start.");
    }
}
