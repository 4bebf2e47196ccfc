using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Memory;
using Ingot.Virtio.VhostUser;

namespace Ingot.Drivers.VhostUserBlk;

/// <summary>One connection to a served disk, from connect to close: the session, the driver of its rings, and the device's limits. A reconnect makes a new one.</summary>
internal sealed class VhostUserBlkConnection
{
    private const ulong WantedFeatures = VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex
        | BlkFeatures.SizeMax | BlkFeatures.SegMax | BlkFeatures.ReadOnly | BlkFeatures.BlockSize | BlkFeatures.Flush | BlkFeatures.Topology
        | BlkFeatures.ConfigWce | BlkFeatures.MultiQueue | BlkFeatures.Discard | BlkFeatures.WriteZeroes;

    private readonly FrontendSession _session;
    private readonly LoopMutex _control = new();
    private bool _closed;

    private VhostUserBlkConnection(FrontendSession session, VirtioBlkDriver driver, VhostUserBlkLimits limits, long length)
    {
        _session = session;
        Driver = driver;
        Limits = limits;
        Length = length;
    }

    internal VirtioBlkDriver Driver { get; }

    internal VhostUserBlkLimits Limits { get; }

    internal long Length { get; private set; }

    internal string Peer => _session.Peer;

    internal ulong Features => _session.Features;

    internal static async IoTask<VhostUserBlkConnection> OpenAsync(VhostUserBlkOptions options)
    {
        FrontendSession session = await FrontendSession.ConnectAsync(options.Path, WantedFeatures | RingFeatures(options));
        VirtioBlkDriver? driver = null;
        try
        {
            VirtioBlkConfig config = await session.GetConfigAsync();
            CheckQueues(session, config, options.QueueCount);
            VhostUserBlkLimits limits = VhostUserBlkLimits.From(session.Peer, session.Features, config);
            long length = VhostUserBlkLimits.CheckLength(session.Peer, limits.BlockSize, config.Capacity);
            driver = new VirtioBlkDriver(new VirtioBlkDriverOptions
            {
                Peer = session.Peer,
                Features = session.Features,
                QueueCount = options.QueueCount,
                QueueSize = options.QueueSize,
                MaxSegments = limits.MaxSegments,
                MaxSegmentSize = limits.MaxSegmentSize,
            });
            await session.StartAsync(driver);
            var connection = new VhostUserBlkConnection(session, driver, limits, length);
            connection.Run();
            return connection;
        }
        catch
        {
            driver?.Dispose();
            await session.CloseAsync();
            throw;
        }
    }

    /// <summary>Lets the device map a region, so that data in it needs no copy.</summary>
    internal async IoTask RegisterAsync(SharedMemoryRegion region)
    {
        await ChangeRegionsAsync(region, add: true);
        Driver.Register(region);
    }

    /// <summary>Ends <see cref="RegisterAsync"/>.</summary>
    internal async IoTask UnregisterAsync(SharedMemoryRegion region)
    {
        Driver.Unregister(region);
        await ChangeRegionsAsync(region, add: false);
    }

    internal IoTask SetWriteCacheAsync(bool enabled) => _session.SetWriteCacheAsync(enabled);

    /// <summary>Waits for what is in flight, stops the rings, and closes. After a failure, just closes.</summary>
    internal async IoTask CloseAsync()
    {
        if (_closed)
        {
            return;
        }

        _closed = true;
        if (Driver.Failure is null)
        {
            await StopAsync();
        }

        Driver.Dispose();
        await _session.CloseAsync();
    }

    private static ulong RingFeatures(VhostUserBlkOptions options)
        => (options.Packed ? VirtioFeatures.RingPacked : 0) | (options.Embedded ? VirtioFeatures.EmbeddedRequests : 0);

    private void Run()
    {
        _session.OnEnd = Driver.Fail;
        Driver.OnFailure = _session.End;
        _session.OnConfigChange = () => RefreshAsync().Spawn();
        if (_session.Failure is { } failure)
        {
            Driver.Fail(failure); // it ended between the last answer and now
        }

        Driver.Start();
    }

    private async IoTask StopAsync()
    {
        await Driver.PauseAsync();
        try
        {
            await _session.StopAsync(Driver.Queues.Count);
        }
        catch (ErrnoException e)
        {
            _session.End(e); // nothing is in flight: to close is all that is left either way
        }
    }

    private async IoTask ChangeRegionsAsync(SharedMemoryRegion region, bool add)
    {
        await _control.LockAsync();
        try
        {
            if (_session.NeedsPauseForRegions)
            {
                await Driver.PauseAsync();
            }

            await (add ? _session.AddRegionAsync(region) : _session.RemoveRegionAsync(region));
        }
        finally
        {
            Driver.Resume();
            _control.Unlock();
        }
    }

    private async IoTask RefreshAsync()
    {
        try
        {
            VirtioBlkConfig config = await _session.GetConfigAsync();
            Length = VhostUserBlkLimits.CheckLength(Peer, Limits.BlockSize, config.Capacity);
        }
        catch (ErrnoException e)
        {
            _session.End(e);
        }
    }

    private static void CheckQueues(FrontendSession session, in VirtioBlkConfig config, int wanted)
    {
        int offered = (session.Features & BlkFeatures.MultiQueue) != 0 ? Math.Min(session.QueueCount, (int)config.QueueCount) : 1;
        if (wanted > offered)
        {
            throw new ErrnoException(Errno.EINVAL, $"num-queues={wanted}: {session.Peer} has only {offered}");
        }
    }
}
