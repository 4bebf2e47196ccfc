using Xunit;

namespace Ingot.Conformance;

/// <summary>make install puts everything in its place, and the tools answer to the names they stand in for.</summary>
public class InstallTests
{
    [Fact]
    public async Task Everything_is_installed_under_the_prefix()
    {
        using var work = new Workspace();
        string prefix = work["prefix"];
        (await Command.Run("make", "-C", Programs.Root, "install", $"PREFIX={prefix}")).Succeeded();
        foreach (string tool in (string[])["qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon"])
        {
            Assert.True(File.Exists(Path.Combine(prefix, "libexec/ingot/qemu", tool)), tool);
        }

        string link = Path.Combine(prefix, "libexec/ingot/qemu/qemu-img");
        (await Command.Run(link, "create", "-q", "-f", "qcow2", work["disk"], "10M")).Succeeded();
        Outcome failure = (await Command.Run(link, "info", work["missing"])).Failed(work["missing"]);
        Assert.StartsWith("qemu-img: ", failure.Error);
        Assert.Contains("ingot", (await Command.Run(Path.Combine(prefix, "bin/ingot"), "--version")).Succeeded().Output);
        Assert.True(File.Exists(Path.Combine(prefix, "share/man/man1/ingot.1")));
        Assert.True(File.Exists(Path.Combine(prefix, "share/bash-completion/completions/ingot")));
    }
}
