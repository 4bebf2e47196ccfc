using Ingot.Cli;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Cli;

public sealed class ProgressMeterTests
{
    [Fact]
    public async Task Tells_on_SIGUSR1_how_far_it_is()
    {
        using var error = new FlushedWriter();
        var meter = ProgressMeter.Start(new CommandContext("qemu-img", TextWriter.Null, error), isWanted: false, 200);
        meter.Report(25);
        Assert.Equal(0, Libc.kill(Environment.ProcessId, Libc.SIGUSR1));
        Assert.Equal("    (12.50/100%)\n", await error.Flushed.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken));
        meter.End(200);
    }

    private sealed class FlushedWriter : StringWriter
    {
        private readonly TaskCompletionSource<string> _flushed = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<string> Flushed => _flushed.Task;

        public override void Flush() => _flushed.TrySetResult(ToString());
    }
}
