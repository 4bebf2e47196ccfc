using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>What the guest stored, in the clusters that the tables name: as it is, or encrypted.</summary>
internal sealed class ClusterContent(Qcow2Image image)
{
    /// <summary>Reads.</summary>
    /// <param name="offset">Guest offset.</param>
    /// <param name="host">Where it lies.</param>
    /// <param name="data">Where the bytes go.</param>
    internal IoTask ReadAsync(long offset, long host, IoVector data)
    {
        if (image.Encryption is not { } encryption)
        {
            return image.Data.ReadDataAsync(host, data);
        }

        image.Data.Signal(BlockEvents.ReadData);
        return encryption.ReadAsync(image.Data, offset, host, data);
    }

    /// <summary>Writes.</summary>
    /// <param name="offset">Guest offset.</param>
    /// <param name="host">Where it lies.</param>
    /// <param name="data">The bytes.</param>
    /// <param name="flags">Durability.</param>
    internal IoTask WriteAsync(long offset, long host, IoVector data, WriteFlags flags = WriteFlags.None)
    {
        if (image.Encryption is not { } encryption)
        {
            return image.Data.WriteDataAsync(host, data, flags);
        }

        image.Data.Signal(BlockEvents.WriteData);
        return encryption.WriteAsync(image.Data, offset, host, data, flags);
    }

    /// <summary>Writes what is copied around a write.</summary>
    /// <param name="offset">Guest offset.</param>
    /// <param name="host">Where it lies.</param>
    /// <param name="data">The bytes.</param>
    internal IoTask WriteCopyAsync(long offset, long host, IoVector data)
    {
        image.Data.Signal(BlockEvents.WriteCopy);
        return image.Encryption is { } encryption ? encryption.WriteAsync(image.Data, offset, host, data, WriteFlags.None) : image.Data.WriteAsync(host, data);
    }

    /// <summary>Stores zeroes in one cluster.</summary>
    /// <param name="offset">Guest offset.</param>
    /// <param name="host">Where it lies.</param>
    internal async IoTask WriteZeroClusterAsync(long offset, long host)
    {
        if (image.Encryption is not { } encryption)
        {
            await image.Data.WriteZeroesAsync(host, image.Geometry.ClusterLength);
            return;
        }

        using IoBuffer zeroes = IoBuffer.Zeroed(image.Geometry.ClusterLength);
        await encryption.WriteAsync(image.Data, offset, host, zeroes.Vector, WriteFlags.None);
    }
}
