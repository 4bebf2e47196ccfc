using System.Runtime.InteropServices;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Virtio.VhostUser;

/// <summary>
/// The front-end's side of one vhost-user connection to a block device: negotiates, shares memory, sets rings up, reads the configuration space.
/// Every answer is checked; an error names the message, the field and the value.
/// </summary>
public sealed class FrontendSession
{
    /// <summary>The most memory regions of a device without CONFIGURE_MEM_SLOTS.</summary>
    public const int MaxTableRegions = 8;

    private const VhostUserProtocolFeatures WantedProtocol = VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.ReplyAck
        | VhostUserProtocolFeatures.BackendRequests | VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.ConfigureMemSlots;

    private const int MaxRegions = 509;
    private const int ConfigLength = 60; // up to the fields of secure erase, which older devices do not have

    private readonly FrontendChannel _channel;
    private readonly List<SharedMemoryRegion> _regions = [];
    private FrontendBackendChannel? _backendRequests;
    private int _maxRegions = MaxTableRegions;

    private FrontendSession(string peer, FrontendChannel channel)
    {
        Peer = peer;
        _channel = channel;
    }

    /// <summary>What the device is called in messages.</summary>
    public string Peer { get; }

    /// <summary>The features that both sides have.</summary>
    public ulong Features { get; private set; }

    /// <summary>The protocol features that both sides have.</summary>
    public VhostUserProtocolFeatures ProtocolFeatures { get; private set; }

    /// <summary>Queues that the device has.</summary>
    public int QueueCount { get; private set; } = 1;

    /// <summary>True when <see cref="AddRegionAsync"/> replaces the whole table: requests must not be in flight meanwhile.</summary>
    public bool NeedsPauseForRegions => (ProtocolFeatures & VhostUserProtocolFeatures.ConfigureMemSlots) == 0;

    /// <summary>Why the connection is over, or null.</summary>
    public ErrnoException? Failure => _channel.Failure;

    /// <summary>Called once when the connection has ended, whoever ended it.</summary>
    public Action<ErrnoException>? OnEnd
    {
        get => _channel.OnEnd;
        set => _channel.OnEnd = value;
    }

    /// <summary>Called when the device says that its configuration space has changed.</summary>
    public Action? OnConfigChange { get; set; }

    /// <summary>Connects and negotiates.</summary>
    /// <param name="path">The socket.</param>
    /// <param name="wantedFeatures">Features that the caller can use; the ring's version 1 and the protocol features come on top.</param>
    /// <returns>The session; close it.</returns>
    /// <exception cref="ErrnoException">Nobody listens, or the device lacks what is needed.</exception>
    public static async IoTask<FrontendSession> ConnectAsync(string path, ulong wantedFeatures)
    {
        string peer = $"vhost-user-blk device '{path}'";
        var session = new FrontendSession(peer, new FrontendChannel(peer, await ConnectSocketAsync(path)));
        session._channel.Start();
        try
        {
            await session.NegotiateAsync(wantedFeatures);
            return session;
        }
        catch
        {
            await session.CloseAsync();
            throw;
        }
    }

    /// <summary>Reads the configuration space.</summary>
    /// <returns>The fields; which are valid depends on <see cref="Features"/>.</returns>
    public async IoTask<VirtioBlkConfig> GetConfigAsync()
    {
        var request = new VhostUserMessage(VhostUserRequest.GetConfig);
        request.Add(new VhostUserConfigHead(0, ConfigLength, 0)).Add(new byte[ConfigLength]);
        using VhostUserMessage reply = await _channel.CallAsync(request);
        if (reply.Payload.Length != VhostUserConfigHead.HeadSize + ConfigLength)
        {
            throw Nonsense(VhostUserRequest.GetConfig, "payload size", reply.Payload.Length);
        }

        VhostUserConfigHead head = reply.Read<VhostUserConfigHead>();
        if (head.Size != ConfigLength)
        {
            throw Nonsense(VhostUserRequest.GetConfig, "size", head.Size);
        }

        var config = default(VirtioBlkConfig);
        reply.Payload[VhostUserConfigHead.HeadSize..].CopyTo(MemoryMarshal.AsBytes(new Span<VirtioBlkConfig>(ref config)));
        return config;
    }

    /// <summary>Switches the device's write cache; with <see cref="BlkFeatures.ConfigWce"/>.</summary>
    /// <param name="enabled">True: a flush makes writes durable. False: every write is.</param>
    /// <returns>The task.</returns>
    public IoTask SetWriteCacheAsync(bool enabled)
    {
        var message = new VhostUserMessage(VhostUserRequest.SetConfig, Ack);
        message.Add(new VhostUserConfigHead(VirtioBlkConfig.WriteBackOffset, 1, 0)).Add([(byte)(enabled ? 1 : 0)]);
        return SetAsync(message);
    }

    /// <summary>Gives the device a memory region.</summary>
    /// <param name="region">Stays alive until it is removed or the session ends.</param>
    /// <returns>The task.</returns>
    /// <exception cref="ErrnoException">The device takes no more regions.</exception>
    public IoTask AddRegionAsync(SharedMemoryRegion region)
    {
        if (_regions.Count >= _maxRegions)
        {
            return IoTask.FromException(new ErrnoException(Errno.ENOMEM, $"{Peer} takes no more than {_maxRegions} memory regions"));
        }

        _regions.Add(region);
        return NeedsPauseForRegions ? SendTable() : SendRegion(VhostUserRequest.AddMemReg, region);
    }

    /// <summary>Takes a memory region back from the device.</summary>
    /// <param name="region">The region; no request uses it.</param>
    /// <returns>The task.</returns>
    public IoTask RemoveRegionAsync(SharedMemoryRegion region)
    {
        _regions.Remove(region);
        return NeedsPauseForRegions ? SendTable() : SendRegion(VhostUserRequest.RemMemReg, region);
    }

    /// <summary>Tells the device of the features and of a driver's memory and rings, and starts the rings.</summary>
    /// <param name="driver">The driver.</param>
    /// <returns>The task.</returns>
    public async IoTask StartAsync(VirtioBlkDriver driver)
    {
        await SetAsync(Number(VhostUserRequest.SetFeatures, Features, Ack));
        await AddRegionAsync(driver.Memory);
        for (int i = 0; i < driver.Queues.Count; i++)
        {
            await StartQueueAsync((uint)i, driver.Queues[i], driver.Kick(i), driver.Call);
        }

        for (int i = 0; i < driver.Queues.Count; i++)
        {
            await SetAsync(State(VhostUserRequest.SetVringEnable, (uint)i, 1));
        }
    }

    /// <summary>Stops rings on which nothing is in flight.</summary>
    /// <param name="queues">How many were started.</param>
    /// <returns>The task.</returns>
    public async IoTask StopAsync(int queues)
    {
        for (int i = 0; i < queues; i++)
        {
            var request = new VhostUserMessage(VhostUserRequest.GetVringBase);
            using VhostUserMessage reply = await _channel.CallAsync(request.Add(new VringState((uint)i, 0)));
        }
    }

    /// <summary>Ends the connection.</summary>
    /// <returns>The task.</returns>
    public async IoTask CloseAsync()
    {
        if (_backendRequests is { } backend)
        {
            _backendRequests = null;
            await backend.CloseAsync();
        }

        await _channel.CloseAsync();
    }

    /// <summary>Ends the connection because of something that the device did.</summary>
    /// <param name="reason">What it did.</param>
    public void End(ErrnoException reason) => _channel.End(reason);

    private VhostUserFlags Ack => (ProtocolFeatures & VhostUserProtocolFeatures.ReplyAck) != 0 ? VhostUserFlags.NeedReply : 0;

    private static async IoTask<UnixSocket> ConnectSocketAsync(string path)
    {
        const int Attempts = 100;
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                return UnixSocket.Connect(path);
            }
            catch (ErrnoException e) when (e.Errno == Errno.EAGAIN && attempt < Attempts)
            {
                await EventLoop.Current.DelayAsync(TimeSpan.FromMilliseconds(20)); // the listener's queue is full
            }
        }
    }

    private async IoTask NegotiateAsync(ulong wanted)
    {
        ulong offered = await GetAsync(VhostUserRequest.GetFeatures);
        Require(offered, VirtioFeatures.Version1, "VIRTIO_F_VERSION_1");
        Require(offered, VirtioFeatures.ProtocolFeatures, "VHOST_USER_F_PROTOCOL_FEATURES");
        Features = offered & (wanted | VirtioFeatures.Version1 | VirtioFeatures.ProtocolFeatures);
        if ((Features & VirtioFeatures.EmbeddedRequests) != VirtioFeatures.EmbeddedRequests)
        {
            Features &= ~VirtioFeatures.EmbeddedRequests;
        }

        var protocol = (VhostUserProtocolFeatures)await GetAsync(VhostUserRequest.GetProtocolFeatures);
        if ((protocol & VhostUserProtocolFeatures.Config) == 0)
        {
            throw new ErrnoException(Errno.ENOTSUP, $"{Peer} does not offer the protocol feature CONFIG, so that its size can't be known");
        }

        await _channel.SendAsync(Number(VhostUserRequest.SetProtocolFeatures, (ulong)(protocol & WantedProtocol), 0));
        ProtocolFeatures = protocol & WantedProtocol;
        if (Has(VhostUserProtocolFeatures.MultiQueue))
        {
            ulong count = await GetAsync(VhostUserRequest.GetQueueNum);
            QueueCount = count is > 0 and <= ushort.MaxValue ? (int)count : throw Nonsense(VhostUserRequest.GetQueueNum, "number", count);
        }

        await SetAsync(new VhostUserMessage(VhostUserRequest.SetOwner, Ack));
        if (Has(VhostUserProtocolFeatures.ConfigureMemSlots))
        {
            ulong slots = await GetAsync(VhostUserRequest.GetMaxMemSlots);
            _maxRegions = slots > 0 ? (int)Math.Min(slots, MaxRegions) : throw Nonsense(VhostUserRequest.GetMaxMemSlots, "number", slots);
        }

        if (Has(VhostUserProtocolFeatures.BackendRequests))
        {
            await OpenBackendRequestsAsync();
        }
    }

    private async IoTask OpenBackendRequestsAsync()
    {
        (UnixSocket mine, UnixSocket theirs) = UnixSocket.CreatePair();
        _backendRequests = new FrontendBackendChannel(mine, () => OnConfigChange?.Invoke());
        _backendRequests.Start();
        using (theirs)
        {
            var message = new VhostUserMessage(VhostUserRequest.SetBackendReqFd, Ack);
            message.Descriptors.Add(theirs.Descriptor);
            await SetAsync(message);
        }
    }

    private async IoTask StartQueueAsync(uint index, DriverQueue queue, FileDescriptor kick, FileDescriptor call)
    {
        await SetAsync(State(VhostUserRequest.SetVringNum, index, (uint)queue.Size));
        await SetAsync(State(VhostUserRequest.SetVringBase, index, queue.Base));
        var address = new VringAddress { Index = index, Descriptors = queue.DescriptorAddress, Available = queue.AvailableAddress, Used = queue.UsedAddress };
        await SetAsync(new VhostUserMessage(VhostUserRequest.SetVringAddr, Ack).Add(address));
        await SetAsync(Doorbell(VhostUserRequest.SetVringCall, index, call));
        await SetAsync(Doorbell(VhostUserRequest.SetVringKick, index, kick));
    }

    private IoTask SendTable()
    {
        var message = new VhostUserMessage(VhostUserRequest.SetMemTable, Ack);
        message.Add((uint)_regions.Count).Add(0u);
        foreach (SharedMemoryRegion region in _regions)
        {
            message.Add(Describe(region)).Descriptors.Add(region.Descriptor);
        }

        return SetAsync(message);
    }

    private IoTask SendRegion(VhostUserRequest request, SharedMemoryRegion region)
    {
        // REM_MEM_REG has no use for the descriptor, but older servers insist on one.
        VhostUserMessage message = new VhostUserMessage(request, Ack).Add(0UL).Add(Describe(region));
        message.Descriptors.Add(region.Descriptor);
        return SetAsync(message);
    }

    private static VhostUserMemoryRegion Describe(SharedMemoryRegion region) => new(region.Address, (ulong)region.Length, region.Address, 0);

    private VhostUserMessage State(VhostUserRequest request, uint index, uint value)
        => new VhostUserMessage(request, Ack).Add(new VringState(index, value));

    private VhostUserMessage Doorbell(VhostUserRequest request, uint index, FileDescriptor descriptor)
    {
        VhostUserMessage message = Number(request, index, Ack);
        message.Descriptors.Add(descriptor);
        return message;
    }

    private static VhostUserMessage Number(VhostUserRequest request, ulong value, VhostUserFlags flags) => new VhostUserMessage(request, flags).Add(value);

    private bool Has(VhostUserProtocolFeatures feature) => (ProtocolFeatures & feature) != 0;

    private async IoTask<ulong> GetAsync(VhostUserRequest request)
    {
        using VhostUserMessage reply = await _channel.CallAsync(new VhostUserMessage(request));
        return NumberOf(reply);
    }

    // The descriptors of a message belong to its sender and stay open: the message is not disposed.
    private async IoTask SetAsync(VhostUserMessage message)
    {
        if ((message.Flags & VhostUserFlags.NeedReply) == 0)
        {
            await _channel.SendAsync(message);
            return;
        }

        using VhostUserMessage reply = await _channel.CallAsync(message);
        ulong status = NumberOf(reply);
        if (status != 0)
        {
            throw new ErrnoException(Errno.EIO, $"{Peer} refused {(VhostUserRequest)message.Request} (status {status})");
        }
    }

    private ulong NumberOf(VhostUserMessage reply)
        => reply.Payload.Length == sizeof(ulong)
            ? reply.Read<ulong>()
            : throw Nonsense((VhostUserRequest)reply.Request, "payload size", reply.Payload.Length);

    private ErrnoException Nonsense(VhostUserRequest request, string field, object value)
        => new(Errno.EPROTO, $"{Peer} answered {request} with {field} {value}");

    private void Require(ulong offered, ulong feature, string name)
    {
        if ((offered & feature) == 0)
        {
            throw new ErrnoException(Errno.ENOTSUP, $"{Peer} does not offer the feature {name}");
        }
    }
}
