using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Virtio.Blk;

/// <summary>One request on its way through a <see cref="VirtioBlkDriver"/>: what to do, where its data lies for the device, and the promise of its task. Pooled.</summary>
internal sealed class VirtioBlkOperation(VirtioBlkDriver driver) : IoPromise
{
    internal BlkRequestType Type;
    internal ulong Sector;
    internal IoVector Data;

    // Discard and write-zeroes only: the range that goes as payload.
    internal uint RangeSectors;
    internal uint RangeFlags;

    internal int BouncePage = -1;
    internal int BouncePages;

    internal bool ChangesData => Type is BlkRequestType.Out or BlkRequestType.Discard or BlkRequestType.WriteZeroes;

    internal bool DeviceWrites => Type is BlkRequestType.In or BlkRequestType.GetId;

    // The header as two words: what is stored whole can be loaded whole without a stall.
    internal ulong HeaderLow => (uint)Type;

    internal ulong HeaderHigh => Type is BlkRequestType.In or BlkRequestType.Out ? Sector : 0;

    internal void Finish(BlkStatus status)
    {
        if (status == BlkStatus.Ok)
        {
            Complete();
        }
        else
        {
            Fail(status == BlkStatus.Unsupported ? Errno.ENOTSUP : Errno.EIO);
        }
    }

    internal void Abort(ErrnoException error) => Fail(error);

    protected override Exception Describe(Errno errno) => ErrnoException.For(errno, $"{What()} on {driver.Peer} failed");

    protected override void Recycle()
    {
        Reset();
        Data = default;
        driver.Recycle(this);
    }

    private string What()
    {
        long offset = (long)Sector * VirtioBlkConfig.SectorSize;
        long rangeLength = (long)RangeSectors * VirtioBlkConfig.SectorSize;
        return Type switch
        {
            BlkRequestType.In => $"Reading {Data.Length} bytes at offset {offset}",
            BlkRequestType.Out => $"Writing {Data.Length} bytes at offset {offset}",
            BlkRequestType.Flush => "Flushing",
            BlkRequestType.Discard => $"Discarding {rangeLength} bytes at offset {offset}",
            BlkRequestType.WriteZeroes => $"Writing {rangeLength} zeroes at offset {offset}",
            _ => "Reading the serial number",
        };
    }
}
