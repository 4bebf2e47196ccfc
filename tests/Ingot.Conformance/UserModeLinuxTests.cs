using Xunit;

namespace Ingot.Conformance;

/// <summary>User-mode Linux: a vhost-user front-end that shares no code with QEMU, at native speed.</summary>
public class UserModeLinuxTests
{
    [Theory]
    [InlineData("raw")]
    [InlineData("qcow2")]
    public async Task It_makes_fills_trims_and_checks_a_file_system(string format)
    {
        using var work = new Workspace();
        (await Command.Ingot("img", "create", "-q", "-f", format, work["disk"], "128M")).Succeeded();
        await using Server server = await Server.Serve(work["disk"], work["sock"], "--format", format);
        (await Command.Run(Programs.RunUml, "--socket", server.Socket, Programs.Scenario("basic.sh"))).Succeeded();
        // The same server serves the next front-end.
        (await Command.Run(Programs.RunUml, "--socket", server.Socket, Programs.Scenario("basic.sh"))).Succeeded();
        Assert.Equal(0, await server.Terminate());
        if (format == "qcow2")
        {
            (await Command.Run("qemu-img", "check", work["disk"])).Succeeded();
        }
    }

    [Fact]
    public async Task It_can_not_write_a_read_only_disk()
    {
        using var work = new Workspace();
        work.RawImage("disk", 64, seed: 2);
        string sum = work.Sha256("disk", 1 << 20);
        await using Server server = await Server.Serve(work["disk"], work["sock"], "--format", "raw", "--read-only");
        (await Command.Run(Programs.RunUml, "--socket", server.Socket, "--set", $"SUM={sum}", Programs.Scenario("readonly.sh"))).Succeeded();
    }
}
