using System.Diagnostics;
using Xunit;

namespace Ingot.Conformance;

/// <summary>A real Linux guest in QEMU on our socket.</summary>
public class GuestTests
{
    [Theory]
    [InlineData("raw")]
    [InlineData("qcow2")]
    public async Task A_guest_makes_fills_trims_and_checks_a_file_system(string format)
    {
        using var work = new Workspace();
        (await Command.Ingot("img", "create", "-q", "-f", format, work["disk"], "128M")).Succeeded();
        await using (Server server = await Server.Serve(work["disk"], work["sock"], "--format", format))
        {
            (await Command.Run(Programs.RunGuest, "--socket", server.Socket, "--timeout", "240", Programs.Scenario("basic.sh"))).Succeeded();
            Assert.Equal(0, await server.Terminate());
        }

        Assert.False(File.Exists(work["sock"]));
        if (format == "qcow2")
        {
            (await Command.Run("qemu-img", "check", work["disk"])).Succeeded();
        }
    }

    [Fact]
    public async Task A_guest_uses_packed_virtqueues()
    {
        using var work = new Workspace();
        (await Command.Ingot("img", "create", "-q", "-f", "raw", work["disk"], "128M")).Succeeded();
        await using Server server = await Server.Serve(work["disk"], work["sock"], "--format", "raw", "--packed");
        (await Command.Run(Programs.RunGuest, "--socket", server.Socket, "--device", "packed=on", "--set", "PACKED=1", "--timeout", "240", Programs.Scenario("basic.sh"))).Succeeded();
    }

    [Theory]
    [InlineData("raw")]
    [InlineData("qcow2")]
    public async Task A_guest_uses_two_queues(string format)
    {
        using var work = new Workspace();
        (await Command.Ingot("img", "create", "-q", "-f", format, work["disk"], "128M")).Succeeded();
        await using Server server = await Server.Serve(work["disk"], work["sock"], "--format", format, "--queues", "2", "--threads", "2");
        (await Command.Run(Programs.RunGuest, "--socket", server.Socket, "--queues", "2", "--timeout", "240", Programs.Scenario("two-queues.sh"))).Succeeded();
    }

    [Fact]
    public async Task A_guest_can_not_write_a_read_only_disk()
    {
        using var work = new Workspace();
        work.RawImage("disk", 64, seed: 1);
        string sum = work.Sha256("disk", 1 << 20);
        await using Server server = await Server.Serve(work["disk"], work["sock"], "--format", "raw", "--read-only");
        (await Command.Run(Programs.RunGuest, "--socket", server.Socket, "--set", $"SUM={sum}", Programs.Scenario("readonly.sh"))).Succeeded();
        Assert.Equal(sum, work.Sha256("disk", 1 << 20));
    }

    [Theory]
    [InlineData("raw", 1)]
    [InlineData("raw", 2)]
    [InlineData("raw", 1, "--packed")]
    [InlineData("qcow2", 1)]
    public async Task A_guest_goes_on_after_the_server_was_killed_and_started_again(string format, int queues, params string[] more)
    {
        using var work = new Workspace();
        (await Command.Ingot("img", "create", "-q", "-f", format, work["disk"], "128M")).Succeeded();
        string[] options = ["--format", format, "--queues", $"{queues}", .. more];
        string packed = more.Contains("--packed") ? "on" : "off";
        Server server = await Server.Serve(work["disk"], work["sock"], options);
        try
        {
            using Process guest = Command.Start(
                Programs.RunGuest, "--socket", work["sock"], "--reconnect", "--queues", $"{queues}", "--device", $"packed={packed}", "--timeout", "240", Programs.Scenario("crash.sh"));
            Task<string> rest = KillWhileWriting(guest);
            string console = await rest;
            Assert.True(guest.ExitCode == 0, console + server.Log);
        }
        finally
        {
            await server.DisposeAsync();
        }

        if (format == "qcow2")
        {
            (await Command.Run("qemu-img", "check", "-r", "leaks", work["disk"])).Succeeded();
        }

        async Task<string> KillWhileWriting(Process guest)
        {
            var console = new System.Text.StringBuilder();
            Task<string> errors = guest.StandardError.ReadToEndAsync();
            while (await guest.StandardOutput.ReadLineAsync() is { } line)
            {
                console.AppendLine(line);
                if (line == "SCENARIO WRITING")
                {
                    await server.Kill();
                    await server.DisposeAsync();
                    server = await Server.Serve(work["disk"], work["sock"], options);
                }
            }

            await guest.WaitForExitAsync();
            return console + await errors;
        }
    }
}
