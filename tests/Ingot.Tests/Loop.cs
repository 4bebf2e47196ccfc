using Ingot.Io;

namespace Ingot.Tests;

/// <summary>Runs a test's coroutine on a loop of its own, on the test's thread.</summary>
internal static class Loop
{
    internal static void Run(Func<IoTask> test, IoEngine engine = IoEngine.Auto)
        => EventLoop.RunMain(
            async () =>
            {
                await test();
                return 0;
            },
            new EventLoopOptions { Engine = engine });
}
