using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio.Memory;
using Ingot.Virtio.Rings;

namespace Ingot.Virtio.VhostUser;

/// <summary>The rings of a session and what they share: guest memory, agreed features, dirty log, in-flight buffer.</summary>
internal sealed class BackendRings
{
    private readonly IVhostUserDevice _device;
    private readonly BackendRing[] _rings;
    private GuestMemory _memory = GuestMemory.Create([]);
    private DirtyLog? _log;
    private InflightRegion? _inflight;
    private ulong _features;

    internal BackendRings(IVhostUserDevice device)
    {
        _device = device;
        _rings = new BackendRing[device.QueueCount];
        for (int i = 0; i < _rings.Length; i++)
        {
            _rings[i] = new BackendRing(i);
        }
    }

    /// <summary>True once packed rings were agreed on.</summary>
    internal bool ArePacked => (_features & VirtioFeatures.RingPacked) != 0;

    internal static void Require(bool condition, VhostUserRequest request, string otherwise)
    {
        if (!condition)
        {
            throw new ErrnoException(Errno.EPROTO, $"{NameOf(request)}: {otherwise}");
        }
    }

    internal BackendRing Get(VhostUserRequest request, uint index)
    {
        Require(index < _rings.Length, request, $"queue {index} does not exist, there are {_rings.Length}");
        return _rings[index];
    }

    /// <summary>Changes something of one ring, stopped meanwhile.</summary>
    internal async IoTask ChangeAsync(BackendRing ring, Action<BackendRing> change)
    {
        await PauseAsync(ring);
        change(ring);
        await ResumeAsync(ring);
    }

    internal async IoTask SetEnabledAsync(BackendRing ring, bool enabled)
    {
        if (ring.IsEnabled != enabled)
        {
            await ChangeAsync(ring, r => r.IsEnabled = enabled);
        }
    }

    /// <summary>In-flight notes of a packed ring hold its descriptors, and have no room for a header that came in one.</summary>
    internal void RequireNotes(VhostUserRequest request)
        => Require(!ArePacked || (_features & VirtioFeatures.EmbeddedRequests) == 0, request, "packed rings with embedded headers can't have in-flight notes");

    internal async IoTask SetFeaturesAsync(ulong features)
    {
        await PauseAllAsync();
        _features = features;
        if (_inflight is not null)
        {
            RequireNotes(VhostUserRequest.SetFeatures);
        }

        if ((features & VirtioFeatures.ProtocolFeatures) == 0)
        {
            Array.ForEach(_rings, r => r.IsEnabled = true);
        }

        await ResumeAllAsync(mayLackMemory: false);
    }

    internal async IoTask DisableAllAsync()
    {
        await PauseAllAsync();
        Array.ForEach(_rings, r => r.IsEnabled = false);
    }

    internal async IoTask ResetAsync()
    {
        await PauseAllAsync();
        Array.ForEach(_rings, r => r.Reset());
        _features = 0;
    }

    /// <summary>GET_VRING_BASE: stops a ring until it gets a new kick.</summary>
    /// <returns>Where to go on, see <see cref="Virtqueue.Position"/>.</returns>
    internal async IoTask<uint> StopAsync(BackendRing ring)
    {
        await PauseAsync(ring);
        ring.DropKick();
        return ring.Base;
    }

    internal async IoTask SetDoorbellAsync(VhostUserRequest request, VhostUserMessage message)
    {
        ulong value = message.Read<ulong>();
        BackendRing ring = Get(request, (uint)(value & VringFd.IndexMask));
        bool hasBell = message.Descriptors.Count > 0;
        Require(hasBell == ((value & VringFd.NoFd) == 0), request, $"queue {ring.Index}: a file descriptor {(hasBell ? "came although the message says that there is none" : "is missing")}");
        if (hasBell)
        {
            Libc.SetNonBlocking(message.Descriptors[0].Value);
        }

        using FileDescriptor? old = ring.Replace(request, message.TakeDescriptor());
        if (ring.Running is null)
        {
            await ResumeAsync(ring, mayLackMemory: request != VhostUserRequest.SetVringKick);
        }
        else
        {
            await _device.SetDoorbellsAsync(ring.Index, ring.Doorbells);
        }
    }

    internal IoTask SetMemoryAsync(VhostUserMessage message)
    {
        const int Head = 8;
        const int MaxTableRegions = 8;
        uint count = message.Read<uint>();
        Require(count <= MaxTableRegions, VhostUserRequest.SetMemTable, $"{count} regions, the limit is {MaxTableRegions}");
        Require(count == message.Descriptors.Count, VhostUserRequest.SetMemTable, $"{count} regions with {message.Descriptors.Count} file descriptors");
        var regions = new List<GuestRegion>();
        try
        {
            for (int i = 0; i < count; i++)
            {
                regions.Add(MapRegion(message.Read<VhostUserMemoryRegion>(Head + (i * 32)), message.Descriptors[i], VhostUserRequest.SetMemTable));
            }
        }
        catch
        {
            regions.ForEach(r => r.Mapping.Release());
            throw;
        }

        return SwitchMemoryAsync(GuestMemory.Create(regions), mayLackMemory: false);
    }

    internal async IoTask AddRegionAsync(VhostUserMessage message)
    {
        const VhostUserRequest request = VhostUserRequest.AddMemReg;
        using FileDescriptor? file = message.TakeDescriptor();
        Require(file is not null && message.Descriptors.Count == 0, request, "exactly one file descriptor must come with it");
        GuestRegion region = MapRegion(message.Read<VhostUserMemoryRegion>(sizeof(ulong)), file!, request);
        await SwitchMemoryAsync(GuestMemory.Create(_memory.Regions.Select(Share).Append(region)), mayLackMemory: true);
    }

    internal async IoTask RemoveRegionAsync(VhostUserMessage message)
    {
        VhostUserMemoryRegion gone = message.Read<VhostUserMemoryRegion>(sizeof(ulong));
        GuestRegion? region = _memory.Regions.FirstOrDefault(r => r.GuestAddress == gone.GuestAddress && r.UserAddress == gone.UserAddress && r.Size == gone.Size);
        Require(region is not null, VhostUserRequest.RemMemReg, $"there is no region of {gone.Size} bytes at guest address 0x{gone.GuestAddress:x}");
        await SwitchMemoryAsync(GuestMemory.Create(_memory.Regions.Where(r => r != region).Select(Share)), mayLackMemory: true);
    }

    internal async IoTask SetLogAsync(VhostUserMessage message)
    {
        VhostUserLog log = message.Read<VhostUserLog>();
        using FileDescriptor? file = message.TakeDescriptor();
        Require(file is not null, VhostUserRequest.SetLogBase, "no file descriptor came with it");
        DirtyLog mapped = DirtyLog.Map(file!, log.Offset, log.Size);
        await PauseAllAsync();
        _log?.Release();
        _log = mapped;
        await ResumeAllAsync(mayLackMemory: true);
    }

    internal async IoTask SetInflightAsync(VhostUserMessage message)
    {
        RequireNotes(VhostUserRequest.SetInflightFd);
        using FileDescriptor? file = message.TakeDescriptor();
        Require(file is not null, VhostUserRequest.SetInflightFd, "no file descriptor came with it");
        InflightRegion region = InflightRegion.Map(file!, message.Read<VhostUserInflight>());
        await PauseAllAsync();
        _inflight?.Release();
        _inflight = region;
        await ResumeAllAsync(mayLackMemory: true);
    }

    /// <summary>The front-end has gone.</summary>
    internal async IoTask CloseAsync()
    {
        await ResetAsync();
        _memory.Release();
        _log?.Release();
        _inflight?.Release();
    }

    private async IoTask SwitchMemoryAsync(GuestMemory memory, bool mayLackMemory)
    {
        await PauseAllAsync();
        _memory.Release();
        _memory = memory;
        await ResumeAllAsync(mayLackMemory);
    }

    private async IoTask PauseAllAsync()
    {
        foreach (BackendRing ring in _rings)
        {
            await PauseAsync(ring);
        }
    }

    private async IoTask ResumeAllAsync(bool mayLackMemory)
    {
        foreach (BackendRing ring in _rings)
        {
            await ResumeAsync(ring, mayLackMemory);
        }
    }

    private async IoTask PauseAsync(BackendRing ring)
    {
        if (ring.Running is { } queue)
        {
            await _device.StopQueueAsync(ring.Index);
            ring.Running = null;
            ring.Base = queue.Position;
        }
    }

    // While regions come and go one by one, a ring whose memory is away waits for it.
    private async IoTask ResumeAsync(BackendRing ring, bool mayLackMemory = false)
    {
        if (ring.Running is not null || !ring.CanRun)
        {
            return;
        }

        var setup = new QueueSetup(ring.Index, _memory, ring.Size, ring.Address!.Value, _features, ring.Base, _log);
        if (!mayLackMemory || setup.IsMapped)
        {
            Virtqueue queue = setup.IsPacked
                ? new PackedVirtqueue(setup, HasNotes(setup) ? _inflight!.GetPackedQueue(ring.Index, ring.Size) : null)
                : new SplitVirtqueue(setup, HasNotes(setup) ? _inflight!.GetQueue(ring.Index, ring.Size) : null);
            ring.Running = queue;
            await _device.StartQueueAsync(ring.Index, queue, ring.Doorbells);
        }
    }

    // A guest may choose a larger ring than its front-end asked a buffer for; it is served all the same.
    private bool HasNotes(QueueSetup setup)
    {
        if (_inflight is null)
        {
            return false;
        }

        if (!_inflight.HasRoomFor(setup.Index, setup.Size, setup.IsPacked))
        {
            _device.Warn($"Queue {setup.Index} of {setup.Size} entries does not fit the in-flight buffer: if this server dies, its requests in flight are lost");
            return false;
        }

        return true;
    }

    private static GuestRegion Share(GuestRegion region) => region with { Mapping = region.Mapping.Share() };

    private static GuestRegion MapRegion(in VhostUserMemoryRegion region, FileDescriptor file, VhostUserRequest request)
        => new(region.GuestAddress, region.UserAddress, SharedMapping.Map(file, region.FileOffset, region.Size, $"{NameOf(request)}: region at guest address 0x{region.GuestAddress:x}"));

    private static string NameOf(VhostUserRequest request) => request switch
    {
        VhostUserRequest.SetFeatures => "SET_FEATURES",
        VhostUserRequest.SetMemTable => "SET_MEM_TABLE",
        VhostUserRequest.SetLogBase => "SET_LOG_BASE",
        VhostUserRequest.SetVringNum => "SET_VRING_NUM",
        VhostUserRequest.SetVringAddr => "SET_VRING_ADDR",
        VhostUserRequest.SetVringBase => "SET_VRING_BASE",
        VhostUserRequest.GetVringBase => "GET_VRING_BASE",
        VhostUserRequest.SetVringKick => "SET_VRING_KICK",
        VhostUserRequest.SetVringCall => "SET_VRING_CALL",
        VhostUserRequest.SetVringErr => "SET_VRING_ERR",
        VhostUserRequest.SetProtocolFeatures => "SET_PROTOCOL_FEATURES",
        VhostUserRequest.SetVringEnable => "SET_VRING_ENABLE",
        VhostUserRequest.SetBackendReqFd => "SET_BACKEND_REQ_FD",
        VhostUserRequest.SetConfig => "SET_CONFIG",
        VhostUserRequest.GetInflightFd => "GET_INFLIGHT_FD",
        VhostUserRequest.SetInflightFd => "SET_INFLIGHT_FD",
        VhostUserRequest.AddMemReg => "ADD_MEM_REG",
        VhostUserRequest.RemMemReg => "REM_MEM_REG",
        VhostUserRequest.SetStatus => "SET_STATUS",
        _ => request.ToString(),
    };
}
