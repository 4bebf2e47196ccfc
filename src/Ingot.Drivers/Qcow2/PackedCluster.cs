using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>A cluster that is being packed on the thread pool. Used again and again, so that compressing allocates no buffers.</summary>
internal sealed class PackedCluster(int clusterLength) : OffloadedWork, IDisposable
{
    private readonly IoBuffer _packed = new(clusterLength);
    private IoBuffer? _whole; // for clusters that do not lie in one piece
    private IoVector _source;
    private Qcow2Compression _compression;

    /// <summary>Where the cluster lies in the guest.</summary>
    internal long Offset { get; private set; }

    /// <summary>What the guest wrote; less than a cluster at the end of the disk.</summary>
    internal IoVector Data { get; private set; }

    /// <summary>The result; empty when it is not smaller than the cluster.</summary>
    internal IoVector Packed { get; private set; }

    /// <summary>The work, to be awaited once.</summary>
    internal IoTask Packing { get; private set; }

    /// <summary>The next cluster of the same request.</summary>
    internal PackedCluster? Next { get; set; }

    /// <summary>Starts to pack.</summary>
    /// <param name="offset">Where the cluster lies in the guest.</param>
    /// <param name="data">At most a cluster; what is missing is zero.</param>
    /// <param name="compression">The method.</param>
    internal void Start(long offset, IoVector data, Qcow2Compression compression)
    {
        Offset = offset;
        Data = data;
        _compression = compression;
        _source = data;
        if (!data.IsSingle || data.Length < clusterLength)
        {
            _whole ??= new IoBuffer(clusterLength);
            data.CopyTo(_whole.Span[..(int)data.Length]);
            _whole.Span[(int)data.Length..].Clear();
            _source = _whole.Vector;
        }

        Packing = RunAsync();
    }

    public void Dispose()
    {
        _packed.Dispose();
        _whole?.Dispose();
    }

    // A result that is not smaller by a byte is worth nothing, so there is no room for it.
    protected override void Work()
        => Packed = _packed.Slice(0, CompressedCluster.Pack(_source.SingleSpan, _packed.Slice(0, clusterLength - 1), _compression));
}
