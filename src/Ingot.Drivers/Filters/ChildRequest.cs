using Ingot.Block;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Filters;

/// <summary>Requests to several children at once, whose outcomes are compared.</summary>
internal static class ChildRequest
{
    /// <summary>How a request to a child ended.</summary>
    internal static async IoTask<Errno> StatusAsync(BlockNode child, Func<BlockNode, IoTask> request)
    {
        try
        {
            return await request(child).Status();
        }
        catch (ErrnoException e)
        {
            return e.Errno; // refused before it began
        }
    }

    /// <summary>How a request ended at each child.</summary>
    internal static async IoTask<Errno[]> StatusesAsync(IReadOnlyList<BlockNode> children, Func<BlockNode, int, IoTask> request)
    {
        var running = new IoTask<Errno>[children.Count];
        for (int i = 0; i < running.Length; i++)
        {
            int index = i;
            running[i] = StatusAsync(children[i], child => request(child, index));
        }

        var statuses = new Errno[running.Length];
        for (int i = 0; i < running.Length; i++)
        {
            statuses[i] = await running[i];
        }

        return statuses;
    }

    /// <summary>Where two runs of the same length first differ; negative when they don't.</summary>
    internal static long FirstDifference(IoVector data, ReadOnlySpan<byte> other)
    {
        int done = 0;
        foreach (Span<byte> segment in data)
        {
            int same = segment.CommonPrefixLength(other.Slice(done, segment.Length));
            done += same;
            if (same < segment.Length)
            {
                return done;
            }
        }

        return -1;
    }
}
