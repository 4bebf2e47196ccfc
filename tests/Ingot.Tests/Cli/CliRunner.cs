using Ingot.Cli;

namespace Ingot.Tests.Cli;

/// <summary>What a command printed and how it ended.</summary>
/// <param name="Status">The exit status.</param>
/// <param name="Out">Standard output.</param>
/// <param name="Error">Standard error.</param>
internal sealed record CliResult(int Status, string Out, string Error);

/// <summary>Runs our commands within the test process.</summary>
internal static class CliRunner
{
    public static CliResult Image(params string[] words) => Run("qemu-img", words);

    public static CliResult Run(string program, params string[] words)
    {
        var output = new StringWriter();
        var error = new StringWriter();
        int status = Program.Dispatch(new CommandContext(program, output, error), words);
        return new CliResult(status, output.ToString(), error.ToString());
    }
}
