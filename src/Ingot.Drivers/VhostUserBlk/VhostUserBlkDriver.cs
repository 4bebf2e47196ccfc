using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.VhostUserBlk;

/// <summary>Disks that another process serves over vhost-user-blk. Takes the same options as QEMU's driver of this name, and the shape of the queues.</summary>
public sealed class VhostUserBlkDriver : BlockDriver
{
    /// <summary>The driver's name.</summary>
    public const string DriverName = "virtio-blk-vhost-user";

    /// <inheritdoc/>
    public override string Name => DriverName;

    /// <inheritdoc/>
    public override bool IsProtocol => true;

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
        => await VhostUserBlkNode.OpenAsync(VhostUserBlkOptions.Take(request.Options), request.Flags, request.NodeName);
}
