using Xunit;

namespace Ingot.Conformance;

/// <summary>Image commands do what QEMU 10's do, by the table of tests/peers/img-commands.txt; docs/qemu-compat.md explains what it lists as different.</summary>
public class ImageCommandTests
{
    [Fact]
    public async Task Commands_print_and_end_as_the_peers_do()
    {
        Outcome outcome = await Command.Run(Path.Combine(Programs.Root, "tests/peers/img-differences"));
        Assert.True(outcome.Status == 0, outcome.Output + outcome.Error);
    }
}
