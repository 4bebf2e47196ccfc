using System.Collections.Concurrent;
using Ingot.Io;

namespace Ingot.Drivers.Qcow2;

/// <summary>
/// Readers of an image that nobody changes. Each loop has a reader with tables of its own, so that loops share nothing that changes and need no locks.
/// </summary>
/// <param name="image">The image; its maker's loop is the one that calls this.</param>
/// <param name="first">The reader of that loop.</param>
internal sealed class LoopReaders(Qcow2Image image, ClusterReader first)
{
    private readonly EventLoop _home = EventLoop.Current;
    private readonly ConcurrentDictionary<EventLoop, ClusterReader> _others = new();

    /// <summary>The calling loop's reader.</summary>
    internal ClusterReader Current
    {
        get
        {
            EventLoop loop = EventLoop.Current;
            return loop == _home ? first
                : _others.TryGetValue(loop, out ClusterReader? reader) ? reader
                : _others.GetOrAdd(loop, new ClusterReader(image, image.NewMap()));
        }
    }

    /// <summary>Whether clusters that tables call data may be holes: the refcounts, which tell, belong to one loop.</summary>
    internal IoTask<bool> IsPreallocationLikelyAsync()
        => image.Preallocation.IsKnown || EventLoop.Current == _home ? image.Preallocation.IsLikelyAsync()
            : EventLoop.Current.WaitAsync(_home.RunAsync(image.Preallocation.IsLikelyAsync));

    /// <summary>Gives back the other loops' memory; no request may be in flight.</summary>
    internal void Free()
    {
        foreach (ClusterReader reader in _others.Values)
        {
            reader.Free();
            reader.Map.Free();
        }

        _others.Clear();
    }
}
