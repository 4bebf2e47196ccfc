using Ingot.Block;
using Ingot.Cli;
using Ingot.Io;
using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>Which thread serves which queue. What is refused: <see cref="NewcomerMistakesTests"/>.</summary>
public sealed class QueueMappingTests
{
    [Theory]
    [InlineData("none=1", 2, "")]
    [InlineData("m.0.iothread=a", 3, "a")]
    [InlineData("m.0.iothread=b,m.1.iothread=a", 4, "ba")]
    [InlineData("m.0.iothread=a,m.0.vqs.0=2,m.0.vqs.1=0,m.1.iothread=b,m.1.vqs.0=1", 3, "aba")]
    public void Queues_get_the_threads_that_they_are_mapped_to_or_take_turns(string text, int queueCount, string expected)
    {
        using EventLoop a = EventLoop.Start("a"), b = EventLoop.Start("b");
        OptionSet options = KeyValueText.Parse(text.Replace("m.", "iothread-vq-mapping."));
        EventLoop[] loops = QueueMapping.Take(options, queueCount, name => name == "a" ? a : b);
        Assert.Equal(expected, string.Concat(loops.Select(loop => loop.Name)));
    }
}
