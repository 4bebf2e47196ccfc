// Serves an image over vhost-user-blk until Ctrl-C.
// Usage: ServeImage IMAGE SOCKET
using Ingot;

await using BlockDevice disk = await BlockDevice.OpenAsync(args[0]);
await using VhostUserBlkServer server = await VhostUserBlkServer.StartAsync(disk, args[1]);
Console.WriteLine($"Serving {disk.Name} ({disk.Length} bytes) on {args[1]}; Ctrl-C ends it.");

var stop = new TaskCompletionSource();
Console.CancelKeyPress += (_, e) =>
{
    e.Cancel = true;
    stop.TrySetResult();
};
await stop.Task;
