using System.Globalization;
using Ingot.Block;
using Ingot.Io;

namespace Ingot.Cli;

/// <summary>Which iothread serves which queue: an export's option iothread-vq-mapping, with the rules that QEMU 10 has for its devices.</summary>
internal static class QueueMapping
{
    private const string Option = "iothread-vq-mapping";

    /// <summary>Takes the mapping.</summary>
    /// <param name="options">The export's options.</param>
    /// <param name="queueCount">Queues of the export.</param>
    /// <param name="find">An iothread by its id; null when there is none.</param>
    /// <returns>The loops of queues 0, 1, 2... and then again from the first on; empty when there is no mapping.</returns>
    /// <exception cref="OptionException">It is not a mapping of all queues.</exception>
    public static EventLoop[] Take(OptionSet options, int queueCount, Func<string, EventLoop?> find)
    {
        IReadOnlyList<object> items = options.TakeList(Option);
        var loops = new EventLoop[items.Count];
        var queues = new EventLoop?[queueCount];
        var names = new HashSet<string>(StringComparer.Ordinal);
        int? withQueues = null;
        for (int i = 0; i < loops.Length; i++)
        {
            OptionSet item = items[i] as OptionSet ?? throw new OptionException($"Invalid parameter type for '{Option}.{i}', expected: object");
            string name = item.TakeRequired("iothread");
            IReadOnlyList<object> indices = item.TakeList("vqs");
            item.RefuseRest($"item {i} of '{Option}'");
            loops[i] = find(name) ?? throw new OptionException($"IOThread \"{name}\" object does not exist");
            Require(names.Add(name), $"duplicate IOThread name \"{name}\" in {Option}");
            withQueues ??= Math.Min(1, indices.Count);
            Require(withQueues == Math.Min(1, indices.Count), $"either all items in {Option} must have vqs or none of them must have it");
            foreach (object index in indices)
            {
                Assign(queues, index, name, loops[i]);
            }
        }

        if (withQueues is null or 0)
        {
            return loops;
        }

        int missing = Array.IndexOf(queues, null);
        Require(missing < 0, $"missing vq {missing} IOThread assignment in {Option}");
        return queues!;
    }

    private static void Assign(EventLoop?[] queues, object index, string name, EventLoop loop)
    {
        if (index is not string text || !ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ushort queue))
        {
            throw new OptionException($"Parameter 'vqs' of IOThread \"{name}\" in {Option} expects numbers of queues");
        }

        Require(queue < queues.Length, $"vq index {queue} for IOThread \"{name}\" must be less than num_queues {queues.Length} in {Option}");
        Require(queues[queue] is null, $"cannot assign vq {queue} to IOThread \"{name}\" because it is already assigned");
        queues[queue] = loop;
    }

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new OptionException(otherwise);
        }
    }
}
