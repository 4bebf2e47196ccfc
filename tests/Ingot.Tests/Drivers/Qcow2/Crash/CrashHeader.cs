using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Testing;

namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>Names and format options: a crash leaves all of the old ones or all of the new ones.</summary>
internal sealed class CrashHeader : ICrashPart
{
    private readonly CrashWorkload _workload;
    private readonly CrashSetup _setup;
    private readonly List<(int Issued, int Completed, Facts Facts)> _versions = [];

    internal CrashHeader(CrashWorkload workload, CrashSetup setup)
    {
        _workload = workload;
        _setup = setup;
        _versions.Add((0, 0, FactsOf(workload.Node.Image.Header.Current)));
    }

    public async IoTask StepAsync()
    {
        Facts old = _versions[^1].Facts;
        int kind = _workload.Extra.Next(4);
        Facts wanted = kind == 0 ? old with { RefcountOrder = old.Version < 3 ? 4 : _workload.Extra.Next(3, 7) }
            : kind == 1 && old.Version >= 3 ? old with { IsLazy = !old.IsLazy }
            : kind == 2 && CanConvert(old) ? old with { Version = 5 - old.Version, IsLazy = false, RefcountOrder = 4 }
            : NewNames(old);
        int issued = _workload.Log.Tick();
        _versions.Add((issued, int.MaxValue, wanted));
        bool isAmended = wanted.BackingFile == old.BackingFile && wanted.BackingFormat == old.BackingFormat;
        try
        {
            // Amending stores bitmaps, as closing does.
            await (isAmended ? _workload.BeginCloseAsync() : IoTask.Completed);
            await ChangeAsync(old, wanted);
        }
        catch (ErrnoException e) when (e.Errno is Errno.ENOSPC or Errno.EINVAL)
        {
            // The name does not fit into the header, or counts do not fit into fewer bits.
            _versions.RemoveAt(_versions.Count - 1);
            return;
        }

        if (isAmended)
        {
            _workload.EndClose();
        }

        int completed = _workload.Log.Tick();
        _versions[^1] = (issued, completed, wanted);
        if (isAmended || !_setup.HasDataFile)
        {
            _workload.History.Flush(issued, completed);
        }

        if (isAmended)
        {
            await _workload.ReopenAsync();
        }
    }

    public IoTask<string?> CheckAsync(Qcow2Node node, MemoryDisk disk, byte[] content, int moment)
    {
        Facts now = FactsOf(node.Image.Header.Current);
        int last = _versions.FindLastIndex(v => v.Completed <= moment);
        bool isRight = _versions.Skip(last).TakeWhile(v => v.Issued <= moment).Any(v => v.Facts == now);
        return new IoTask<string?>(isRight ? null : $"the header is {now}, not {_versions[last].Facts}");
    }

    private static Facts FactsOf(Qcow2Header header) => new(header.Version, header.RefcountOrder, header.LazyRefcounts, header.BackingFile, header.BackingFormat);

    private bool CanConvert(Facts facts)
        => facts.Version < 3 || !(_setup.HasDataFile || _setup.IsExtended || _setup.HasBitmaps || _setup.HasSnapshots || _setup.PublishesMetadata || _setup.Compression != "zlib");

    // The old one and the new one must fit into the header beside each other. In the smallest, bitmaps need room, which are stored later.
    private int LongName => _setup.ClusterBits == 10 ? 220 : _setup is { ClusterBits: 9, HasBitmaps: true } ? 200 : 700;

    private Facts NewNames(Facts old)
    {
        int length = _workload.Extra.Next(3) switch { 0 => 0, 1 => _workload.Extra.Next(1, 30), _ => _workload.Extra.Next(1, LongName) };
        return old with
        {
            BackingFile = length == 0 ? null : new string((char)('a' + (_versions.Count % 26)), length),
            BackingFormat = length == 0 || _workload.Extra.Next(3) == 0 ? null : new[] { "raw", "qcow2", "vpc" }[_workload.Extra.Next(3)],
        };
    }

    private async IoTask ChangeAsync(Facts old, Facts wanted)
    {
        if (wanted.BackingFile != old.BackingFile || wanted.BackingFormat != old.BackingFormat)
        {
            await _workload.Node.ChangeBackingAsync(wanted.BackingFile, wanted.BackingFormat);
            return;
        }

        await _workload.Node.AmendAsync(
            Qcow2Fixture.Options(
                ("compat", wanted.Version == 2 ? "v2" : "v3"),
                ("refcount_bits", $"{1 << wanted.RefcountOrder}"),
                ("lazy_refcounts", wanted.IsLazy ? "on" : "off")),
            force: false,
            progress: null);
    }

    private sealed record Facts(int Version, int RefcountOrder, bool IsLazy, string? BackingFile, string? BackingFormat);
}
