using Ingot.Block;
using Ingot.Block.Throttling;
using Ingot.Drivers.Filters;
using Ingot.Io;

namespace Ingot.Drivers.Throttle;

/// <summary>Driver "throttle": requests wait until the rates of a throttle group let them go.</summary>
public sealed class ThrottleDriver : BlockDriver
{
    /// <inheritdoc/>
    public override string Name => "throttle";

    /// <inheritdoc/>
    public override async IoTask<BlockNode> OpenAsync(OpenRequest request)
    {
        ChildNode file = await request.OpenRequiredChildAsync("file");
        try
        {
            string group = request.Options.TakeString("throttle-group") ?? throw new OptionException("Please specify a throttle group");
            return new ThrottleNode(request.NodeName, file, request.IsReadWrite, group, request.Graph.Throttles.Get(group));
        }
        catch
        {
            await file.CloseAsync();
            throw;
        }
    }
}

/// <summary>Lets requests go when their group says so.</summary>
internal sealed class ThrottleNode(string? nodeName, ChildNode file, bool writable, string groupName, ThrottleGroup group) : FilterNode(nodeName, file, writable)
{
    public override string DriverName => "throttle";

    public override string FileName
        => JsonName.Of(("throttle-group", JsonText.Quote(groupName)), ("driver", JsonText.Quote(DriverName)), ("file", JsonText.Describe(Child)));

    // The group may be used by any loop, and the node has nothing else.
    public override BlockFeatures Features => base.Features | (Child.Features & BlockFeatures.AnyLoop);

    protected override IoTask ReadCore(long offset, IoVector data)
    {
        IoTask turn = group.WaitAsync(false, data.Length);
        return turn.IsCompleted ? Child.ReadAsync(offset, data) : ReadSlowAsync(turn, offset, data);
    }

    protected override IoTask WriteCore(long offset, IoVector data, WriteFlags flags)
    {
        IoTask turn = group.WaitAsync(true, data.Length);
        return turn.IsCompleted ? Child.WriteAsync(offset, data, flags) : WriteSlowAsync(turn, offset, data, flags);
    }

    protected override async IoTask WriteZeroesCore(long offset, long length, ZeroFlags flags)
    {
        await group.WaitAsync(true, length);
        await Child.WriteZeroesAsync(offset, length, flags);
    }

    protected override async IoTask DiscardCore(long offset, long length)
    {
        await group.WaitAsync(true, length);
        await Child.DiscardAsync(offset, length);
    }

    private async IoTask ReadSlowAsync(IoTask turn, long offset, IoVector data)
    {
        await turn;
        await Child.ReadAsync(offset, data);
    }

    private async IoTask WriteSlowAsync(IoTask turn, long offset, IoVector data, WriteFlags flags)
    {
        await turn;
        await Child.WriteAsync(offset, data, flags);
    }
}
