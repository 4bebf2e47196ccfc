using Ingot.Block;
using Ingot.Io;

namespace Ingot.Drivers;

/// <summary>A node whose image can get other format options than it was created with (`img amend`).</summary>
public interface IAmendable
{
    /// <summary>Changes options. Nothing else may be in flight; the node must be closed afterwards.</summary>
    /// <param name="options">New values; those that the driver's AmendOptions list.</param>
    /// <param name="force">Allows what is not safe.</param>
    /// <param name="progress">Told how much of how much is done.</param>
    /// <returns>The task.</returns>
    IoTask AmendAsync(OptionSet options, bool force, Action<long, long>? progress);
}
