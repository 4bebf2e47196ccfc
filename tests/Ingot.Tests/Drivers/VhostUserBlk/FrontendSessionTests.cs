using Ingot.Io;
using Ingot.Linux;
using Ingot.Virtio;
using Ingot.Virtio.VhostUser;
using Xunit;

namespace Ingot.Tests.Drivers.VhostUserBlk;

/// <summary>The front-end's side of the protocol against servers that speak nonsense.</summary>
public sealed class FrontendSessionTests
{
    private const ulong Offered = VirtioFeatures.Version1 | VirtioFeatures.ProtocolFeatures;

    [Fact]
    public void RefusesAnAnswerOfTheWrongSize()
        => Refuses(m => m.Request == (uint)VhostUserRequest.GetFeatures ? Reply(m).Add(1u) : null, "GetFeatures", "payload size 4");

    [Fact]
    public void RefusesTheAnswerOfAnotherMessage()
        => Refuses(_ => new VhostUserMessage(VhostUserRequest.GetQueueNum, VhostUserFlags.Reply).Add(Offered), "GetFeatures", "message 17");

    [Fact]
    public void RefusesAnAnswerThatIsNone()
        => Refuses(_ => new VhostUserMessage(VhostUserRequest.GetFeatures).Add(Offered), "GetFeatures", "flags 0x1");

    [Fact]
    public void RefusesADeviceOfOldTimes()
        => Refuses(m => Reply(m).Add(VirtioFeatures.ProtocolFeatures), "VIRTIO_F_VERSION_1");

    [Fact]
    public void RefusesADeviceWithoutConfiguration()
        => Refuses(m => Reply(m).Add(m.Request == (uint)VhostUserRequest.GetFeatures ? Offered : 0), "CONFIG");

    [Fact]
    public void RefusesNoQueues()
        => Refuses(Answers(queues: 0), "GetQueueNum", "number 0");

    [Fact]
    public void SaysThatTheServerClosed()
        => Refuses(m => m.Request == (uint)VhostUserRequest.GetFeatures ? Reply(m).Add(Offered) : null, "closed the connection");

    [Fact]
    public void RefusesAShortConfiguration()
        => Refuses(
            Answers(queues: 1),
            async session => await session.GetConfigAsync(),
            "GetConfig", "payload size 12");

    private static Func<VhostUserMessage, VhostUserMessage?> Answers(ulong queues) => m => (VhostUserRequest)m.Request switch
    {
        VhostUserRequest.GetFeatures => Reply(m).Add(Offered),
        VhostUserRequest.GetProtocolFeatures => Reply(m).Add((ulong)(VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.MultiQueue)),
        VhostUserRequest.GetQueueNum => Reply(m).Add(queues),
        VhostUserRequest.GetConfig => Reply(m).Add(new VhostUserConfigHead(0, 0, 0)),
        _ => m,
    };

    private static VhostUserMessage Reply(VhostUserMessage request) => new(request.Request, VhostUserFlags.Reply);

    private static void Refuses(Func<VhostUserMessage, VhostUserMessage?> answer, params string[] words) => Refuses(answer, _ => IoTask.Completed, words);

    private static void Refuses(Func<VhostUserMessage, VhostUserMessage?> answer, Func<FrontendSession, IoTask> use, params string[] words)
    {
        using var directory = new TempDirectory();
        string path = directory["server.sock"];
        ErrnoException e = Assert.Throws<ErrnoException>(() => Loop.Run(async () =>
        {
            using UnixSocket listener = UnixSocket.Listen(path);
            ServeAsync(listener, answer).Spawn();
            FrontendSession session = await FrontendSession.ConnectAsync(path, 0);
            try
            {
                await use(session);
            }
            finally
            {
                await session.CloseAsync();
            }
        }));
        Assert.Contains(path, e.Message);
        Assert.All(words, word => Assert.Contains(word, e.Message));
    }

    // Answers with what the script gives; the request itself stands for silence, null for the end of the connection.
    private static async IoTask ServeAsync(UnixSocket listener, Func<VhostUserMessage, VhostUserMessage?> answer)
    {
        UnixSocket? peer = listener.TryAccept();
        while (peer is null)
        {
            await EventLoop.Current.Ring.PollAsync(listener.Descriptor, Libc.POLLIN);
            peer = listener.TryAccept();
        }

        using var connection = new VhostUserConnection(peer);
        while (await connection.ReceiveAsync() is { } request)
        {
            using (request)
            {
                VhostUserMessage? reply = answer(request);
                if (reply is null)
                {
                    return;
                }

                if (reply != request)
                {
                    await connection.SendAsync(reply);
                }
            }
        }
    }
}
