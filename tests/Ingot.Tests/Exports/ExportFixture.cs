using Ingot.Block;
using Ingot.Exports.VhostUser;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;

namespace Ingot.Tests.Exports;

/// <summary>An export on a socket in a temporary directory, and guests that connect to it. Runs on the test's loop.</summary>
internal sealed class ExportFixture
{
    private readonly string _directory = Directory.CreateTempSubdirectory("ingot").FullName;

    private ExportFixture(BlockNode node, Func<VhostUserBlkOptions, VhostUserBlkOptions>? change, IReadOnlyList<EventLoop> loops)
    {
        Node = node;
        var options = new VhostUserBlkOptions { Id = "disk0", Path = SocketPath, Writable = !node.IsReadOnly };
        Export = VhostUserBlkExport.Start(change is null ? options : change(options), node, loops, Warnings.Add);
    }

    public BlockNode Node { get; }

    public string SocketPath => Path.Combine(_directory, "s");

    public VhostUserBlkExport Export { get; private set; }

    public List<string> Warnings { get; } = [];

    /// <summary>Runs a test body on a loop of its own.</summary>
    public static void Run(BlockNode node, Func<ExportFixture, IoTask> body, Func<VhostUserBlkOptions, VhostUserBlkOptions>? change = null, int loopCount = 0)
    {
        EventLoop[] loops = [.. Enumerable.Range(0, loopCount).Select(i => EventLoop.Start($"worker{i}"))];
        EventLoop.RunMain(async () =>
        {
            var fixture = new ExportFixture(node, change, loops);
            await body(fixture);
            await fixture.Export.StopAsync();
            Directory.Delete(fixture._directory, recursive: true);
            return 0;
        });
        Array.ForEach(loops, l => l.Dispose());
    }

    public GuestDriver Connect(int queueCount = 1, int queueSize = 128) => new(UnixSocket.Connect(SocketPath), queueCount: queueCount, queueSize: queueSize);
}
