using Ingot.Block;
using Ingot.Linux;

namespace Ingot.Drivers.BlkDebug;

/// <summary>Kinds of requests that an error can be injected into.</summary>
[Flags]
internal enum DebugRequests
{
    Read = 1,
    Write = 2,
    WriteZeroes = 4,
    Discard = 8,
    Flush = 16,
    BlockStatus = 32,
    AllButStatus = Read | Write | WriteZeroes | Discard | Flush,
}

/// <summary>What happens at an event in a state: the state changes, or requests fail from then on.</summary>
/// <param name="Event">The event; "none" for an error that is injected from the beginning.</param>
/// <param name="State">The state in which the rule holds; 0 for any.</param>
/// <param name="NewState">The state after the event; null for a rule that injects an error.</param>
internal sealed record DebugRule(string Event, long State, long? NewState)
{
    internal Errno Errno { get; init; } = Errno.EIO;

    internal DebugRequests Requests { get; init; } = DebugRequests.AllButStatus;

    /// <summary>The byte that a request must touch; -1 for any request.</summary>
    internal long Offset { get; init; } = -1;

    internal bool IsOnce { get; init; }

    /// <summary>Takes a rule's options.</summary>
    /// <param name="options">The options of an inject-error or set-state.</param>
    /// <param name="setsState">True for set-state.</param>
    /// <returns>The rule.</returns>
    internal static DebugRule Take(OptionSet options, bool setsState)
    {
        string name = options.TakeRequired("event");
        if (!BlockEvents.IsKnown(name))
        {
            throw new OptionException($"Invalid event name \"{name}\"");
        }

        long state = options.TakeNumber("state", 0) ?? 0;
        if (setsState)
        {
            return new DebugRule(name, state, options.TakeNumber("new_state", 0) ?? throw new OptionException("Parameter 'new_state' is missing"));
        }

        // Errors come before a request is started either way.
        options.TakeBool("immediately");
        return new DebugRule(name, state, null)
        {
            Errno = (Errno)(options.TakeNumber("errno", 0, int.MaxValue) ?? (long)Errno.EIO),
            Requests = TakeRequests(options),
            Offset = options.TakeNumber("sector", -1, long.MaxValue / 512) is { } sector and >= 0 ? sector * 512 : -1,
            IsOnce = options.TakeBool("once") ?? false,
        };
    }

    internal bool Hits(DebugRequests request, long offset, long length)
        => (Requests & request) != 0 && (Offset < 0 || (Offset >= offset && Offset - offset < length));

    private static DebugRequests TakeRequests(OptionSet options) => options.TakeWord("iotype", "read", "write", "write-zeroes", "discard", "flush", "block-status") switch
    {
        "read" => DebugRequests.Read,
        "write" => DebugRequests.Write,
        "write-zeroes" => DebugRequests.WriteZeroes,
        "discard" => DebugRequests.Discard,
        "flush" => DebugRequests.Flush,
        "block-status" => DebugRequests.BlockStatus,
        _ => DebugRequests.AllButStatus,
    };
}
