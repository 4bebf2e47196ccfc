using Ingot.Block;
using Ingot.Block.Throttling;

namespace Ingot.Drivers.Throttle;

/// <summary>The throttle groups of a process by their ids: what `--object throttle-group` makes.</summary>
public sealed class ThrottleTable
{
    private readonly Dictionary<string, ThrottleGroup> _groups = new(StringComparer.Ordinal);

    /// <summary>Adds the group that options describe: id, and rates such as x-iops-total or limits.iops-total.</summary>
    /// <param name="options">The options without "qom-type"; all are taken.</param>
    /// <exception cref="OptionException">An option is missing or wrong.</exception>
    public void Add(OptionSet options)
    {
        string id = options.TakeRequired("id");
        var limits = ThrottleLimits.Take(options, "x-");
        OptionSet members = options.TakeSet("limits");
        if (!members.IsEmpty)
        {
            limits = ThrottleLimits.Take(members, "");
        }

        if ((options.FindRest() ?? members.FindRest()) is { } unknown)
        {
            throw new OptionException($"Parameter '{unknown}' is unexpected");
        }

        limits.Check();
        if (!_groups.TryAdd(id, new ThrottleGroup(limits)))
        {
            throw new OptionException($"attempt to add duplicate property '{id}' to object (type 'container')");
        }
    }

    /// <summary>Finds a group.</summary>
    /// <param name="id">Its id.</param>
    /// <returns>The group.</returns>
    /// <exception cref="OptionException">There is none.</exception>
    public ThrottleGroup Get(string id) => _groups.TryGetValue(id, out ThrottleGroup? group) ? group : throw new OptionException($"Throttle group '{id}' does not exist");
}
