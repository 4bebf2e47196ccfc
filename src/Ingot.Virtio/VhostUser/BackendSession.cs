using System.Numerics;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.Memory;

namespace Ingot.Virtio.VhostUser;

/// <summary>
/// The back-end's side of one vhost-user connection: negotiates, keeps what the front-end said of memory and rings, and starts and stops the device's
/// queues accordingly. Whatever changes under a running ring, the ring is stopped, changed and started again, so that nothing in flight sees the change.
/// </summary>
public sealed class BackendSession
{
    private const VhostUserProtocolFeatures OurProtocolFeatures =
        VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.LogShmFd | VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.BackendRequests
        | VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.InflightShmFd | VhostUserProtocolFeatures.ResetDevice
        | VhostUserProtocolFeatures.ConfigureMemSlots | VhostUserProtocolFeatures.Status;

    private readonly VhostUserConnection _connection;
    private readonly IVhostUserDevice _device;
    private readonly BackendRings _rings;
    private VhostUserProtocolFeatures _protocolFeatures;
    private VhostUserConnection? _backendChannel;
    private byte _status;

    /// <summary>Prepares to serve a front-end.</summary>
    /// <param name="connection">Owned from here on.</param>
    /// <param name="device">The device; not in use by another session.</param>
    public BackendSession(VhostUserConnection connection, IVhostUserDevice device)
    {
        _connection = connection;
        _device = device;
        _rings = new BackendRings(device);
    }

    /// <summary>Serves the front-end until it leaves; all rings are stopped and its memory is given back then.</summary>
    /// <returns>The task; fails with <see cref="ErrnoException"/> when the front-end spoke nonsense.</returns>
    public async IoTask RunAsync()
    {
        try
        {
            while (await _connection.ReceiveAsync() is { } message)
            {
                using (message)
                {
                    await AnswerAsync(message);
                }

                // A front-end that floods us takes turns with everybody else on this loop.
                await EventLoop.Current.DelayAsync(TimeSpan.Zero);
            }
        }
        finally
        {
            await _rings.CloseAsync();
            _device.Reset();
            _backendChannel?.Dispose();
            _connection.Dispose();
        }
    }

    /// <summary>Ends the session: <see cref="RunAsync"/> completes when what is in flight is done.</summary>
    public void Shutdown() => _connection.Shutdown();

    /// <summary>Tells the driver that the configuration space has changed, if the front-end can pass that on.</summary>
    /// <returns>The task.</returns>
    public async IoTask NotifyConfigChangeAsync()
    {
        if (_backendChannel is null)
        {
            return;
        }

        Errno error = await _backendChannel.SendAsync(new VhostUserMessage((uint)VhostUserBackendRequest.ConfigChange)).Status();
        if (error != Errno.None)
        {
            _device.Warn($"The front-end could not be told of a configuration change: {ErrnoException.Text(error)}");
        }
    }

    private async IoTask AnswerAsync(VhostUserMessage message)
    {
        VhostUserMessage? reply;
        try
        {
            reply = await HandleAsync((VhostUserRequest)message.Request, message);
        }
        catch (ErrnoException e) when (WantsAck(message) && e.Errno != Errno.EPROTO)
        {
            // Not nonsense, only impossible here and now: the front-end asked to hear of that, and may go on.
            _device.Warn(e.Message);
            reply = Reply(message).Add(1UL);
        }

        if (reply is null && WantsAck(message))
        {
            reply = Reply(message).Add(0UL);
        }

        if (reply is not null)
        {
            using (reply)
            {
                await _connection.SendAsync(reply);
            }
        }
    }

    // Asked after the message was handled: Linux already wants the message that negotiates acknowledgements acknowledged.
    private bool WantsAck(VhostUserMessage message)
        => (message.Flags & VhostUserFlags.NeedReply) != 0 && (_protocolFeatures & VhostUserProtocolFeatures.ReplyAck) != 0;

    private async IoTask<VhostUserMessage?> HandleAsync(VhostUserRequest request, VhostUserMessage message)
    {
        switch (request)
        {
            case VhostUserRequest.GetFeatures:
                return Reply(message).Add(OfferedFeatures);
            case VhostUserRequest.SetFeatures:
                await SetFeaturesAsync(message.Read<ulong>());
                return null;
            case VhostUserRequest.GetProtocolFeatures:
                return Reply(message).Add((ulong)OurProtocolFeatures);
            case VhostUserRequest.SetProtocolFeatures:
                SetProtocolFeatures((VhostUserProtocolFeatures)message.Read<ulong>());
                return null;
            case VhostUserRequest.SetOwner or VhostUserRequest.SetLogFd:
                return null;
            case VhostUserRequest.ResetOwner:
                await _rings.DisableAllAsync();
                return null;
            case VhostUserRequest.ResetDevice:
                await ResetAsync();
                return null;
            case VhostUserRequest.GetQueueNum:
                return Reply(message).Add((ulong)_device.QueueCount);
            case VhostUserRequest.GetConfig:
                return GetConfig(message);
            case VhostUserRequest.SetConfig:
                SetConfig(message);
                return null;
            case VhostUserRequest.SetBackendReqFd:
                SetBackendChannel(message);
                return null;
            case VhostUserRequest.GetStatus:
                return Reply(message).Add((ulong)_status);
            case VhostUserRequest.SetStatus:
                await SetStatusAsync(message.Read<ulong>());
                return null;
            default:
                return await HandleMemoryAsync(request, message);
        }
    }

    private async IoTask<VhostUserMessage?> HandleMemoryAsync(VhostUserRequest request, VhostUserMessage message)
    {
        switch (request)
        {
            case VhostUserRequest.SetMemTable:
                await _rings.SetMemoryAsync(message);
                return null;
            case VhostUserRequest.GetMaxMemSlots:
                return Reply(message).Add((ulong)GuestMemory.MaxRegions);
            case VhostUserRequest.AddMemReg:
                await _rings.AddRegionAsync(message);
                return null;
            case VhostUserRequest.RemMemReg:
                await _rings.RemoveRegionAsync(message);
                return null;
            case VhostUserRequest.SetLogBase:
                await _rings.SetLogAsync(message);
                return Reply(message).Add(0UL);
            case VhostUserRequest.GetInflightFd:
                return GetInflight(message);
            case VhostUserRequest.SetInflightFd:
                await _rings.SetInflightAsync(message);
                return null;
            default:
                return await HandleRingAsync(request, message);
        }
    }

    private async IoTask<VhostUserMessage?> HandleRingAsync(VhostUserRequest request, VhostUserMessage message)
    {
        switch (request)
        {
            case VhostUserRequest.SetVringNum:
                await SetRingSizeAsync(message.Read<VringState>());
                return null;
            case VhostUserRequest.SetVringAddr:
                VringAddress address = message.Read<VringAddress>();
                await _rings.ChangeAsync(_rings.Get(request, address.Index), ring => ring.Address = address);
                return null;
            case VhostUserRequest.SetVringBase:
                VringState start = message.Read<VringState>();
                Require(start.Value <= ushort.MaxValue || _rings.ArePacked, request, $"base {start.Value} of queue {start.Index} is over {ushort.MaxValue}");
                await _rings.ChangeAsync(_rings.Get(request, start.Index), ring => ring.Base = start.Value);
                return null;
            case VhostUserRequest.GetVringBase:
                uint index = message.Read<VringState>().Index;
                uint next = await _rings.StopAsync(_rings.Get(request, index));
                return Reply(message).Add(new VringState(index, next));
            case VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringErr:
                await _rings.SetDoorbellAsync(request, message);
                return null;
            case VhostUserRequest.SetVringEnable:
                VringState enable = message.Read<VringState>();
                Require(enable.Value <= 1, request, $"{enable.Value} for queue {enable.Index} is neither 0 nor 1");
                await _rings.SetEnabledAsync(_rings.Get(request, enable.Index), enable.Value == 1);
                return null;
            default:
                throw new ErrnoException(Errno.EPROTO, $"vhost-user message {message.Request} is not known");
        }
    }

    private ulong OfferedFeatures => _device.Features | VirtioFeatures.ProtocolFeatures | VirtioFeatures.LogAll;

    private async IoTask SetFeaturesAsync(ulong features)
    {
        ulong unknown = features & ~OfferedFeatures;
        Require(unknown == 0, VhostUserRequest.SetFeatures, $"bits 0x{unknown:x} were not offered");
        Require((features & VirtioFeatures.EmbeddedRequests) is 0 or VirtioFeatures.EmbeddedRequests, VhostUserRequest.SetFeatures, "EMBEDDED_HEADER and EMBEDDED_STATUS go together");
        await _rings.SetFeaturesAsync(features);
        _device.SetFeatures(features);
    }

    private void SetProtocolFeatures(VhostUserProtocolFeatures features)
    {
        VhostUserProtocolFeatures unknown = features & ~OurProtocolFeatures;
        Require(unknown == 0, VhostUserRequest.SetProtocolFeatures, $"bits 0x{(ulong)unknown:x} were not offered");
        _protocolFeatures = features;
    }

    private async IoTask SetRingSizeAsync(VringState state)
    {
        const VhostUserRequest request = VhostUserRequest.SetVringNum;
        Require(state.Value > 0 && state.Value <= _device.MaxQueueSize && BitOperations.IsPow2(state.Value), request, $"{state.Value} entries for queue {state.Index}: must be a power of two up to {_device.MaxQueueSize}");
        await _rings.ChangeAsync(_rings.Get(request, state.Index), ring => ring.Size = (int)state.Value);
    }

    private async IoTask SetStatusAsync(ulong status)
    {
        Require(status <= byte.MaxValue, VhostUserRequest.SetStatus, $"status 0x{status:x} has more than 8 bits");
        _status = (byte)status;
        if (status == 0)
        {
            await ResetAsync();
        }
    }

    // Memory stays: a front-end that sends regions one by one sends each of them once.
    private async IoTask ResetAsync()
    {
        await _rings.ResetAsync();
        _status = 0;
        _device.Reset();
    }

    private VhostUserMessage GetConfig(VhostUserMessage message)
    {
        VhostUserConfigHead head = message.Read<VhostUserConfigHead>();
        if (head.Size == 0 || head.Size > VhostUserConfigHead.MaxConfigSize || head.Offset > VhostUserConfigHead.MaxConfigSize - head.Size)
        {
            _device.Warn($"GET_CONFIG: {head.Size} bytes at offset {head.Offset} are outside of the configuration space");
            return Reply(message);
        }

        Span<byte> bytes = stackalloc byte[(int)head.Size];
        _device.ReadConfig((int)head.Offset, bytes);
        return Reply(message).Add(head).Add(bytes);
    }

    private void SetConfig(VhostUserMessage message)
    {
        VhostUserConfigHead head = message.Read<VhostUserConfigHead>();
        ReadOnlySpan<byte> bytes = message.Payload[VhostUserConfigHead.HeadSize..];
        Require(head.Size <= (uint)bytes.Length && head.Size <= VhostUserConfigHead.MaxConfigSize && head.Offset <= VhostUserConfigHead.MaxConfigSize - head.Size, VhostUserRequest.SetConfig, $"{head.Size} bytes at offset {head.Offset} are outside of the configuration space or of the message");
        if (!_device.WriteConfig((int)head.Offset, bytes[..(int)head.Size], isMigration: head.Flags == 1))
        {
            throw new ErrnoException(Errno.EINVAL, $"SET_CONFIG: the fields at offset {head.Offset}, {head.Size} bytes, are read-only");
        }
    }

    private void SetBackendChannel(VhostUserMessage message)
    {
        Require(message.Descriptors.Count > 0, VhostUserRequest.SetBackendReqFd, "no file descriptor came with it");
        var socket = new UnixSocket(message.Descriptors[0]);
        _ = message.TakeDescriptor();
        _backendChannel?.Dispose();
        _backendChannel = new VhostUserConnection(socket);
    }

    private VhostUserMessage GetInflight(VhostUserMessage message)
    {
        VhostUserInflight wish = message.Read<VhostUserInflight>();
        InflightRegion.Check(wish, VhostUserRequest.GetInflightFd);
        _rings.RequireNotes(VhostUserRequest.GetInflightFd);
        long size = InflightRegion.SizeOf(wish.QueueCount, Math.Max(wish.QueueSize, _device.MaxQueueSize), _rings.ArePacked);
        VhostUserMessage reply = Reply(message).Add(new VhostUserInflight((ulong)size, 0, wish.QueueCount, wish.QueueSize));
        reply.Descriptors.Add(SharedMapping.CreateFile("ingot-inflight", size));
        return reply;
    }

    private static VhostUserMessage Reply(VhostUserMessage message) => new(message.Request, VhostUserFlags.Reply);

    private static void Require(bool condition, VhostUserRequest request, string otherwise) => BackendRings.Require(condition, request, otherwise);
}
