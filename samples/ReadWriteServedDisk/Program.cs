// Writes to, reads from and flushes a disk that another program serves over vhost-user-blk.
// Usage: ReadWriteServedDisk SOCKET
using System.Text;
using Ingot;

await using BlockDevice disk = await BlockDevice.ConnectVhostUserAsync(args[0]);
Console.WriteLine($"{disk.Name}: {disk.Length} bytes, read-only: {disk.IsReadOnly}");

byte[] message = Encoding.UTF8.GetBytes("Hello from .NET");
await disk.WriteAsync(4096, message);
await disk.FlushAsync();

byte[] back = new byte[message.Length];
await disk.ReadAsync(4096, back);
Console.WriteLine(Encoding.UTF8.GetString(back));
