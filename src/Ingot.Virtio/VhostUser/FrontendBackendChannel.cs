using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Virtio.VhostUser;

/// <summary>The channel on which the back-end asks: here only that its configuration space has changed.</summary>
internal sealed class FrontendBackendChannel(UnixSocket socket, Action onConfigChange)
{
    private readonly VhostUserConnection _connection = new(socket);
    private readonly IoCompletionSource _ended = new();

    internal void Start() => ReceiveLoop().Spawn();

    internal async IoTask CloseAsync()
    {
        _connection.Shutdown();
        await _ended.Task;
        _connection.Dispose();
    }

    private async IoTask ReceiveLoop()
    {
        try
        {
            while (await _connection.ReceiveAsync() is { } message)
            {
                using (message)
                {
                    await AnswerAsync(message);
                }
            }
        }
        catch (ErrnoException)
        {
            // Without this channel changes of the size go unnoticed; the device itself goes on.
            _connection.Shutdown();
        }

        _ended.SetResult();
    }

    private async IoTask AnswerAsync(VhostUserMessage message)
    {
        bool known = message.Request == (uint)VhostUserBackendRequest.ConfigChange;
        if (known)
        {
            onConfigChange();
        }

        if ((message.Flags & VhostUserFlags.NeedReply) != 0)
        {
            await _connection.SendAsync(new VhostUserMessage(message.Request, VhostUserFlags.Reply).Add(known ? 0UL : 1UL));
        }
    }
}
