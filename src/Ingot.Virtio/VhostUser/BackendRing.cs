using Ingot.Linux;
using Ingot.Virtio.Rings;

namespace Ingot.Virtio.VhostUser;

/// <summary>What a front-end has said of one ring, and whether it runs. A ring runs once it has all it needs and is enabled.</summary>
internal sealed class BackendRing(int index)
{
    private Doorbells _doorbells;

    internal int Index { get; } = index;

    internal int Size { get; set; }

    internal uint Base { get; set; }

    internal VringAddress? Address { get; set; }

    internal bool IsEnabled { get; set; }

    /// <summary>A SET_VRING_KICK came since the last GET_VRING_BASE: that is what starts a ring.</summary>
    internal bool HasKick { get; private set; }

    /// <summary>The ring while it runs.</summary>
    internal Virtqueue? Running { get; set; }

    internal Doorbells Doorbells => _doorbells;

    internal bool CanRun => HasKick && IsEnabled && Size > 0 && Address is not null;

    /// <summary>Replaces a doorbell; gives the old one, to be closed once it is out of use.</summary>
    internal FileDescriptor? Replace(VhostUserRequest which, FileDescriptor? bell)
    {
        FileDescriptor? old;
        switch (which)
        {
            case VhostUserRequest.SetVringKick:
                old = _doorbells.Kick;
                _doorbells = _doorbells with { Kick = bell };
                HasKick = true;
                break;
            case VhostUserRequest.SetVringCall:
                old = _doorbells.Call;
                _doorbells = _doorbells with { Call = bell };
                break;
            default:
                old = _doorbells.Error;
                _doorbells = _doorbells with { Error = bell };
                break;
        }

        return old;
    }

    /// <summary>Forgets the kick: the ring stays stopped until it gets another.</summary>
    internal void DropKick()
    {
        _doorbells.Kick?.Dispose();
        _doorbells = _doorbells with { Kick = null };
        HasKick = false;
    }

    /// <summary>Forgets everything but the base: QEMU 7.2 sets the status to 0 first and asks for the base then.</summary>
    internal void Reset()
    {
        DropKick();
        _doorbells.Call?.Dispose();
        _doorbells.Error?.Dispose();
        _doorbells = default;
        Size = 0;
        Address = null;
        IsEnabled = false;
    }
}
