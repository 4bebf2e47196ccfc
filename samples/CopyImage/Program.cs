// Copies an image or a served disk into a new image, leaving out what reads as zeroes.
// Usage: CopyImage SOURCE TARGET [FORMAT]      SOURCE may also be driver=virtio-blk-vhost-user,path=SOCKET
using System.Buffers;
using Ingot;

const int ChunkLength = 1 << 20;
await using BlockDevice source = await BlockDevice.OpenAsync(args[0], new BlockDeviceOptions { ReadOnly = true });
await using BlockDevice target = await BlockDevice.CreateAsync(args[1], args.Length > 2 ? args[2] : "raw", source.Length);
using IMemoryOwner<byte> buffer = await source.AllocateBufferAsync(ChunkLength);
long copied = 0;
await foreach (BlockExtent extent in source.EnumerateExtentsAsync())
{
    for (long offset = extent.Offset; !extent.IsZero && offset < extent.End; offset += ChunkLength)
    {
        Memory<byte> chunk = buffer.Memory[..(int)Math.Min(ChunkLength, extent.End - offset)];
        await source.ReadAsync(offset, chunk);
        await target.WriteAsync(offset, chunk);
        copied += chunk.Length;
    }
}

await target.FlushAsync();
Console.WriteLine($"Copied {copied} of {source.Length} bytes, the rest is zeroes.");
