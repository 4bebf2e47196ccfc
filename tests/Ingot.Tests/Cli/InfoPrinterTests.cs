using Ingot.Block;
using Ingot.Cli;
using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>Lists for people.</summary>
public class InfoPrinterTests
{
    [Theory]
    [InlineData(null, "--")]
    [InlineData(0L, "0")]
    [InlineData(7L, "7")]
    public void Snapshots_of_machines_that_count_no_instructions_say_so(long? count, string expected)
    {
        var o = new StringWriter();
        InfoPrinter.PrintSnapshots(o, [new SnapshotInfo("1", "name", 1024, 0, 0, 0, count, 0)], "");
        Assert.EndsWith($"0000:00:00.000 {expected,10}", o.ToString().TrimEnd());
    }
}
