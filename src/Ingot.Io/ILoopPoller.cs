namespace Ingot.Io;

/// <summary>A source of work that lies in shared memory and is looked at instead of waited for: a virtqueue.</summary>
public interface ILoopPoller
{
    /// <summary>Looks for work and starts what there is.</summary>
    /// <returns>True when there was any; keeps the poll window open.</returns>
    bool Poll();

    /// <summary>The loop is about to sleep: ask the other side for doorbells, then look once more.</summary>
    /// <returns>False when work came in meanwhile, so that the loop must not sleep.</returns>
    bool PrepareToSleep();

    /// <summary>The loop is awake again: doorbells are a waste from here on.</summary>
    void Awake();
}

/// <summary>Work that is cheaper once for a whole turn: publishing used entries, ringing a doorbell.</summary>
public interface IEndOfTurn
{
    /// <summary>Runs once at the end of the turn that asked for it.</summary>
    void OnEndOfTurn();
}
