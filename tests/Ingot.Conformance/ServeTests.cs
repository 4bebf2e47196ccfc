using System.Diagnostics;
using Xunit;

namespace Ingot.Conformance;

/// <summary>ingot serve, as a user meets it: its hints, its end, and what goes wrong.</summary>
public class ServeTests
{
    [Fact]
    public async Task It_says_how_to_connect_and_removes_its_socket_when_interrupted()
    {
        using var work = new Workspace();
        work.EmptyImage("disk", 4);
        await using Server server = await Server.Serve(work["disk"], work["sock"], "--format", "raw");
        Assert.Equal(0, await server.Interrupt());
        Assert.Contains("vhost-user-blk-pci", server.Log);
        Assert.Contains("driver=virtio-blk-vhost-user", server.Log);
        Assert.False(File.Exists(work["sock"]));
    }

    [Fact]
    public async Task A_snapshot_leaves_the_image_as_it_was()
    {
        using var work = new Workspace();
        work.RawImage("disk", 8, seed: 7);
        work.RawImage("other", 8, seed: 8);
        string before = work.Sha256("disk", 8 << 20);
        await using Server server = await Server.Serve(work["disk"], work["sock"], "--format", "raw", "--snapshot");
        string disk = $"driver=virtio-blk-vhost-user,path={server.Socket}";
        (await Command.Ingot("convert", "--target-image-opts", "-n", "-f", "raw", work["other"], disk)).Succeeded();
        (await Command.Ingot("compare", "--image-opts", disk, $"driver=raw,file.filename={work["other"]}")).Succeeded();
        Assert.Equal(0, await server.Terminate());
        Assert.Equal(before, work.Sha256("disk", 8 << 20));
    }

    [Fact]
    public async Task What_can_not_be_served_is_named()
    {
        using var work = new Workspace();
        (await Command.Ingot("serve", work["missing"], "--socket", work["sock"])).Failed(work["missing"], "No such file");
        work.EmptyImage("disk", 4);
        (await Command.Ingot("serve", work["disk"], "--socket", work["disk"])).Failed(work["disk"]);
        (await Command.Ingot("serve", work["disk"], "--format", "qcow2", "--socket", work["sock"])).Failed(work["disk"], "qcow2");
        await using Server first = await Server.Serve(work["disk"], work["sock"], "--format", "raw");
        (await Command.Ingot("serve", work["disk"], "--socket", work["other.sock"])).Failed(work["disk"], "lock");
        work.EmptyImage("second", 4);
        (await Command.Ingot("serve", work["second"], "--socket", work["sock"])).Failed(work["sock"]);
        Assert.False(first.HasExited);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_qcow2_killed_in_the_middle_of_writes_has_at_most_leaks(int seed)
    {
        using var work = new Workspace();
        (await Command.Ingot("create", "-q", "-f", "qcow2", work["disk"], "1G")).Succeeded();
        Server server = await Server.Serve(work["disk"], work["sock"], "--format", "qcow2");
        string disk = $"driver=virtio-blk-vhost-user,path={server.Socket}";
        using Process writer = Command.Start(Programs.Ingot, "img", "bench", "-w", "-c", "1000000", "-d", "32", "-s", "65536", "-S", "200704", "--flush-interval", "64", "--image-opts", disk);
        while (new FileInfo(work["disk"]).Length < seed * (8 << 20))
        {
            await Task.Delay(5);
        }

        await server.Kill();
        await server.DisposeAsync();
        await writer.WaitForExitAsync();
        Assert.NotEqual(0, writer.ExitCode);
        Outcome check = await Command.Run("qemu-img", "check", work["disk"]);
        Assert.True(check.Status is 0 or 3, check.Output + check.Error);
    }

    [Fact]
    public async Task A_server_needs_little_memory_and_comes_to_rest()
    {
        using var work = new Workspace();
        (await Command.Ingot("create", "-q", "-f", "qcow2", work["disk"], "64G")).Succeeded();
        await using Server server = await Server.Serve(work["disk"], work["sock"], "--format", "qcow2");
        string disk = $"driver=virtio-blk-vhost-user,path={server.Socket}";
        (await Command.Ingot("img", "bench", "-w", "-c", "20000", "-d", "32", "-s", "4096", "-S", "1048576", "--image-opts", disk)).Succeeded();
        using Process process = Process.GetProcessById(server.Id);
        long kibibytes = process.WorkingSet64 >> 10;
        Assert.True(kibibytes < 80 << 10, $"{kibibytes} KiB resident");

        // However busy the machine is: sooner or later half a second must pass without any work.
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        TimeSpan before;
        do
        {
            process.Refresh();
            before = process.TotalProcessorTime;
            await Task.Delay(TimeSpan.FromMilliseconds(500), patience.Token);
            process.Refresh();
        }
        while (process.TotalProcessorTime != before);
    }
}
