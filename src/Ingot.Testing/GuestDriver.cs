using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio;
using Ingot.Virtio.Blk;
using Ingot.Virtio.Memory;
using Ingot.Virtio.VhostUser;

namespace Ingot.Testing;

/// <summary>
/// A guest and its front-end as a test wants them: memory and rings written by hand, so that they can be malformed in any way, and vhost-user messages
/// sent one by one. Not fast, not a driver for real use.
/// </summary>
public sealed class GuestDriver : IDisposable
{
    /// <summary>Where guest memory starts for the guest.</summary>
    public const ulong GuestBase = 0x1_0000_0000;

    /// <summary>Where guest memory starts for the front-end.</summary>
    public const ulong UserBase = 0x7f00_0000_0000;

    /// <summary>Bytes of guest memory that each queue's rings get; what follows all of them is free.</summary>
    public const int RingSpace = 64 << 10;

    private readonly VhostUserConnection _connection;
    private readonly SharedMapping _mapping;
    private readonly GuestQueue[] _queues;

    /// <summary>Prepares memory and rings; nothing is sent.</summary>
    /// <param name="socket">Connected to a back-end; owned from here on.</param>
    /// <param name="memorySize">Bytes of guest memory.</param>
    /// <param name="queueCount">Queues.</param>
    /// <param name="queueSize">Entries of each.</param>
    public GuestDriver(UnixSocket socket, int memorySize = 16 << 20, int queueCount = 1, int queueSize = 128)
        : this(socket, SharedMapping.CreateFile("guest", memorySize), memorySize, queueCount, queueSize)
    {
    }

    /// <summary>The same on memory that a guest had before its front-end reconnected.</summary>
    /// <param name="socket">Connected to a back-end; owned from here on.</param>
    /// <param name="file">Guest memory.</param>
    /// <param name="memorySize">Its bytes.</param>
    /// <param name="queueCount">Queues.</param>
    /// <param name="queueSize">Entries of each.</param>
    public GuestDriver(UnixSocket socket, FileDescriptor file, int memorySize, int queueCount, int queueSize)
    {
        _connection = new VhostUserConnection(socket);
        MemoryFile = file;
        MemorySize = memorySize;
        _mapping = SharedMapping.Map(file, 0, (ulong)memorySize, "guest memory");
        _queues = new GuestQueue[queueCount];
        for (int i = 0; i < queueCount; i++)
        {
            _queues[i] = new GuestQueue(_mapping, i * RingSpace, queueSize);
        }
    }

    /// <summary>The file behind guest memory; closed with this object unless it was taken away.</summary>
    public FileDescriptor? MemoryFile { get; set; }

    /// <summary>Bytes of guest memory.</summary>
    public int MemorySize { get; }

    /// <summary>Guest memory.</summary>
    public Span<byte> Memory => _mapping.Span;

    /// <summary>The queues.</summary>
    public IReadOnlyList<GuestQueue> Queues => _queues;

    /// <summary>The feature bits that the back-end offered.</summary>
    public ulong OfferedFeatures { get; private set; }

    /// <summary>The in-flight buffer, once <see cref="SetUpInflightAsync"/> got it; survives the back-end.</summary>
    public FileDescriptor? InflightFile { get; set; }

    /// <summary>Sends a message that has no reply.</summary>
    /// <param name="message">The message; its descriptors stay open.</param>
    /// <returns>The task.</returns>
    public IoTask SendAsync(VhostUserMessage message) => _connection.SendAsync(message);

    /// <summary>Sends a message and waits for its reply.</summary>
    /// <param name="message">The message; its descriptors stay open.</param>
    /// <returns>The reply, or null when the back-end closed the connection.</returns>
    public async IoTask<VhostUserMessage?> CallAsync(VhostUserMessage message)
    {
        await _connection.SendAsync(message);
        return await _connection.ReceiveAsync();
    }

    /// <summary>Waits for the next message, or for the back-end to hang up.</summary>
    /// <returns>The message, or null.</returns>
    public IoTask<VhostUserMessage?> ReceiveAsync() => _connection.ReceiveAsync();

    /// <summary>Negotiates, hands over memory and starts all queues.</summary>
    /// <param name="features">Wanted feature bits.</param>
    /// <param name="bases">Where each queue starts; null for 0.</param>
    /// <returns>The task.</returns>
    public async IoTask StartAsync(ulong features = VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | BlkFeatures.Flush, ushort[]? bases = null)
    {
        await NegotiateAsync(features);
        await SetMemoryAsync();
        for (int i = 0; i < _queues.Length; i++)
        {
            await StartQueueAsync(i, bases?[i] ?? 0);
        }
    }

    /// <summary>Agrees on features.</summary>
    /// <param name="features">Wanted feature bits.</param>
    /// <returns>The task.</returns>
    public async IoTask NegotiateAsync(ulong features)
    {
        using VhostUserMessage? offered = await CallAsync(new VhostUserMessage(VhostUserRequest.GetFeatures));
        OfferedFeatures = offered!.Read<ulong>();
        using VhostUserMessage? protocol = await CallAsync(new VhostUserMessage(VhostUserRequest.GetProtocolFeatures));
        await SendAsync(new VhostUserMessage(VhostUserRequest.SetProtocolFeatures).Add(protocol!.Read<ulong>()));
        await SendAsync(new VhostUserMessage(VhostUserRequest.SetOwner));
        await SendAsync(new VhostUserMessage(VhostUserRequest.SetFeatures).Add((features & OfferedFeatures) | VirtioFeatures.ProtocolFeatures));
    }

    /// <summary>Sends the memory table.</summary>
    /// <returns>The task.</returns>
    public async IoTask SetMemoryAsync()
    {
        VhostUserMessage table = new VhostUserMessage(VhostUserRequest.SetMemTable).Add(1UL).Add(new VhostUserMemoryRegion(GuestBase, (ulong)MemorySize, UserBase, 0));
        table.Descriptors.Add(MemoryFile!);
        await SendAsync(table);
    }

    /// <summary>Asks for an in-flight buffer if there is none yet, and hands it to the back-end.</summary>
    /// <returns>The task.</returns>
    public async IoTask SetUpInflightAsync()
    {
        var wish = new VhostUserInflight(0, 0, (ushort)_queues.Length, (ushort)_queues[0].Size);
        if (InflightFile is null)
        {
            using VhostUserMessage? reply = await CallAsync(new VhostUserMessage(VhostUserRequest.GetInflightFd).Add(wish));
            InflightFile = reply!.TakeDescriptor();
        }

        var size = (ulong)Libc.Stat(InflightFile!.Value).Size;
        VhostUserMessage message = new VhostUserMessage(VhostUserRequest.SetInflightFd).Add(wish with { Size = size });
        message.Descriptors.Add(InflightFile!);
        await SendAsync(message);
    }

    /// <summary>Configures and starts a queue.</summary>
    /// <param name="index">The queue.</param>
    /// <param name="start">Its base.</param>
    /// <param name="withKick">False makes the back-end poll.</param>
    /// <returns>The task.</returns>
    public async IoTask StartQueueAsync(int index, ushort start = 0, bool withKick = true)
    {
        GuestQueue queue = _queues[index];
        await SendAsync(new VhostUserMessage(VhostUserRequest.SetVringNum).Add(new VringState((uint)index, (uint)queue.Size)));
        await SendAsync(new VhostUserMessage(VhostUserRequest.SetVringBase).Add(new VringState((uint)index, start)));
        await SendAsync(new VhostUserMessage(VhostUserRequest.SetVringAddr).Add(queue.AddressOf(index)));
        await SendBellAsync(VhostUserRequest.SetVringCall, index, queue.Call.Descriptor);
        await SendBellAsync(VhostUserRequest.SetVringErr, index, queue.Error.Descriptor);
        await SendBellAsync(VhostUserRequest.SetVringKick, index, withKick ? queue.Kick.Descriptor : null);
        await SendAsync(new VhostUserMessage(VhostUserRequest.SetVringEnable).Add(new VringState((uint)index, 1)));
    }

    /// <summary>Sends one of the doorbell messages.</summary>
    /// <param name="request">Which.</param>
    /// <param name="index">The queue.</param>
    /// <param name="bell">The descriptor, or null for none.</param>
    /// <returns>The task.</returns>
    public IoTask SendBellAsync(VhostUserRequest request, int index, FileDescriptor? bell)
    {
        VhostUserMessage message = new VhostUserMessage(request).Add((ulong)(uint)index | (bell is null ? VringFd.NoFd : 0));
        if (bell is not null)
        {
            message.Descriptors.Add(bell);
        }

        return SendAsync(message);
    }

    /// <summary>Stops a queue.</summary>
    /// <param name="index">The queue.</param>
    /// <returns>Its base.</returns>
    public async IoTask<ushort> StopQueueAsync(int index)
    {
        using VhostUserMessage? reply = await CallAsync(new VhostUserMessage(VhostUserRequest.GetVringBase).Add(new VringState((uint)index, 0)));
        return (ushort)reply!.Read<VringState>().Value;
    }

    /// <summary>Waits until the device has used so many buffers that were not taken yet.</summary>
    /// <param name="index">The queue.</param>
    /// <param name="count">Buffers.</param>
    /// <returns>The task.</returns>
    public async IoTask WaitUsedAsync(int index = 0, int count = 1)
    {
        GuestQueue queue = _queues[index];
        while (true)
        {
            queue.Call.Clear();
            queue.WishForCalls((ushort)(queue.Seen + count - 1));
            if (queue.Pending >= count)
            {
                return;
            }

            await EventLoop.Current.Ring.PollAsync(queue.Call.Descriptor, Libc.POLLIN);
        }
    }

    /// <summary>Leaves the back-end.</summary>
    public void Disconnect() => _connection.Shutdown();

    /// <inheritdoc/>
    public void Dispose()
    {
        _connection.Dispose();
        _mapping.Release();
        MemoryFile?.Dispose();
        foreach (GuestQueue queue in _queues)
        {
            queue.Dispose();
        }
    }
}
