using System.Text.Json;
using Xunit;

namespace Ingot.Conformance;

/// <summary>The article's command lines, with every pairing of client and server: ours, and QEMU 10's.</summary>
public class ServedDiskTests
{
    public static TheoryData<string, string> Pairings => new()
    {
        { "ingot", "ingot" },
        { "qemu-img 10", "ingot" },
        { "ingot", "qemu-storage-daemon 10" },
        { "ingot", "ingot storage-daemon" },
        { "qemu-img 10", "ingot storage-daemon" },
    };

    [Theory]
    [MemberData(nameof(Pairings))]
    public async Task An_image_is_copied_in_and_out_through_the_socket(string client, string serverKind)
    {
        using var work = new Workspace();
        work.RawImage("test.img", 32, seed: 3);
        work.EmptyImage("disk", 32);
        await using Server server = await Serve(serverKind, work["disk"], work["sock"]);
        string disk = $"driver=virtio-blk-vhost-user,path={server.Socket},cache.direct=on";
        (await Img(client, "convert", "--target-image-opts", "-n", work["test.img"], disk)).Succeeded();
        (await Img(client, "convert", "--image-opts", "-O", "qcow2", disk, work["out.qcow2"])).Succeeded();
        (await Command.Run("qemu-img", "check", work["out.qcow2"])).Succeeded();
        (await Command.Run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", work["test.img"], work["out.qcow2"])).Succeeded();
        Outcome info = (await Img(client, "info", "--output", "json", "--image-opts", disk)).Succeeded();
        Assert.Equal(32 << 20, JsonDocument.Parse(info.Output).RootElement.GetProperty("virtual-size").GetInt64());
        (await Img(client, "bench", "-c", "2000", "-d", "16", "-s", "4096", "--image-opts", disk)).Succeeded();
    }

    [Fact]
    public async Task One_daemon_serves_several_disks_and_stops_on_sigterm()
    {
        using var work = new Workspace();
        work.RawImage("a", 4, seed: 4);
        work.RawImage("b", 8, seed: 5);
        await using Server daemon = await Server.Start(
            Programs.Ingot, work["b.sock"],
            "storage-daemon",
            "--object", "iothread,id=io0",
            "--blockdev", $"driver=file,node-name=fa,filename={work["a"]}",
            "--blockdev", "driver=raw,node-name=a,file=fa",
            "--blockdev", $"driver=file,node-name=b,filename={work["b"]}",
            "--export", $"type=vhost-user-blk,id=ea,node-name=a,addr.type=unix,addr.path={work["a.sock"]},writable=on,num-queues=2,logical-block-size=512",
            "--export", $"type=vhost-user-blk,id=eb,node-name=b,addr.type=unix,addr.path={work["b.sock"]}",
            "--pidfile", work["pid"]);
        Assert.Equal($"{daemon.Id}", File.ReadAllText(work["pid"]).Trim());
        (await Compare(work, "a")).Succeeded();
        (await Compare(work, "b")).Succeeded();
        Assert.Equal(0, await daemon.Terminate());
        Assert.False(File.Exists(work["a.sock"]) || File.Exists(work["b.sock"]) || File.Exists(work["pid"]));

        static Task<Outcome> Compare(Workspace work, string name)
            => Command.Ingot("img", "compare", "--image-opts", $"driver=virtio-blk-vhost-user,path={work[name + ".sock"]}", $"driver=raw,file.filename={work[name]},force-share=on,read-only=on");
    }

    [Fact]
    public async Task A_daemon_in_the_background_is_ready_when_its_starter_returns()
    {
        using var work = new Workspace();
        work.RawImage("disk", 4, seed: 6);
        (await Command.Ingot(
            "storage-daemon", "--daemonize", "--pidfile", work["pid"],
            "--blockdev", $"driver=file,node-name=f,filename={work["disk"]}",
            "--export", $"type=vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path={work["sock"]}")).Succeeded();
        string pid = File.ReadAllText(work["pid"]).Trim();
        try
        {
            (await Command.Ingot("info", "--image-opts", $"driver=virtio-blk-vhost-user,path={work["sock"]}")).Succeeded();
        }
        finally
        {
            (await Command.Run("kill", pid)).Succeeded();
        }

        (await Command.Run("timeout", "20", "tail", "-f", "/dev/null", $"--pid={pid}")).Succeeded();
        Assert.False(File.Exists(work["sock"]));
    }

    [Fact]
    public async Task A_daemon_that_can_not_start_says_why_to_its_starter()
    {
        using var work = new Workspace();
        (await Command.Ingot("storage-daemon", "--daemonize", "--blockdev", $"driver=file,node-name=f,filename={work["missing"]}")).Failed(work["missing"], "No such file");
    }

    private static Task<Outcome> Img(string client, params string[] arguments)
        => client == "ingot" ? Command.Ingot(["img", .. arguments]) : Command.Run(Programs.Qemu10("qemu-img"), arguments);

    private static Task<Server> Serve(string kind, string image, string socket)
    {
        string[] daemon =
        [
            "--blockdev", $"driver=file,node-name=f,filename={image}",
            "--blockdev", "driver=raw,node-name=n,file=f",
            "--export", $"type=vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path={socket},writable=on,num-queues=1",
        ];
        return kind switch
        {
            "ingot" => Server.Serve(image, socket, "--format", "raw"),
            "ingot storage-daemon" => Server.Start(Programs.Ingot, socket, ["storage-daemon", .. daemon]),
            _ => Server.Start(Programs.Qemu10("qemu-storage-daemon"), socket, daemon),
        };
    }
}
