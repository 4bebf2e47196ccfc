using Ingot.Drivers.BlkDebug;
using Ingot.Drivers.BlkVerify;
using Ingot.Drivers.Compress;
using Ingot.Drivers.CopyOnRead;
using Ingot.Drivers.Crypto;
using Ingot.Drivers.File;
using Ingot.Drivers.Memory;
using Ingot.Drivers.Null;
using Ingot.Drivers.Preallocate;
using Ingot.Drivers.Qcow2;
using Ingot.Drivers.Quorum;
using Ingot.Drivers.Raw;
using Ingot.Drivers.Throttle;
using Ingot.Drivers.VhostUserBlk;

namespace Ingot.Drivers;

/// <summary>Every driver there is. Adding one is a folder and a line here.</summary>
public static class DriverTable
{
    /// <summary>All drivers, in the order in which they are listed to people.</summary>
    public static IReadOnlyList<BlockDriver> All { get; } =
    [
        new FileDriver("file"),
        new FileDriver("host_device"),
        new FileDriver("host_cdrom"),
        new MemoryDriver(),
        new NullDriver("null-co"),
        new NullDriver("null-aio"),
        new RawDriver(),
        new Qcow2Driver(),
        new LuksDriver(),
        new VhostUserBlkDriver(),
        new BlkDebugDriver(),
        new BlkVerifyDriver(),
        new CompressDriver(),
        new CopyOnReadDriver(),
        new PreallocateDriver(),
        new QuorumDriver(),
        new ThrottleDriver(),
    ];

    /// <summary>Finds a driver.</summary>
    /// <param name="name">Its name or an alias.</param>
    /// <returns>The driver, or null.</returns>
    public static BlockDriver? Find(string name) => All.FirstOrDefault(d => d.Name == name || d.Aliases.Contains(name));
}
