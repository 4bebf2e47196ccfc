// Serves an image over vhost-user-blk until SIGINT (Ctrl-C) or SIGTERM.
// Usage: ServeImage IMAGE SOCKET
using System.Runtime.InteropServices;
using Ingot;

await using BlockDevice disk = await BlockDevice.OpenAsync(args[0]);
await using VhostUserBlkServer server = await VhostUserBlkServer.StartAsync(disk, args[1]);
Console.WriteLine($"Serving {disk.Name} ({disk.Length} bytes) on {server.SocketPath}; Ctrl-C ends it.");

var stop = new TaskCompletionSource();
using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
await stop.Task;

void Stop(PosixSignalContext signal)
{
    signal.Cancel = true;
    stop.TrySetResult();
}
