using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;
using Xunit;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>
/// Lets a guest and parts that make snapshots, bitmaps and so on change an image at random, cuts the power at random moments, and looks at what is left:
/// no cluster is used uncounted, what was flushed is there, and what was not is old or new. A seed says all of it.
/// </summary>
internal sealed class CrashWorkload
{
    private const int SectorLength = SectorHistory.SectorLength;
    private const int BackingWrite = 1 << 24;

    private readonly int _seed;
    private readonly CrashSetup _setup;
    private readonly Random _random;
    private readonly byte[] _backing;
    private readonly List<ICrashPart> _parts = [];
    private readonly List<int> _ends = []; // of steps
    private readonly CrashIo _io;
    private CrashSnapshots? _snapshots;
    private CrashCommits? _commits;
    private RecordingNode _disk = null!;
    private RecordingNode? _dataFile;

    internal CrashWorkload(int seed, CrashSetup setup)
    {
        _seed = seed;
        _setup = setup;
        _random = new Random(seed);
        Extra = new Random(seed ^ 0x717e);
        MaxLength = setup.Length * 2;
        _backing = new byte[setup.BackingLength];
        for (int sector = 0; sector < _backing.Length / SectorLength; sector++)
        {
            SectorHistory.Fill(_backing.AsSpan(sector * SectorLength, SectorLength), SectorHistory.Tag(BackingWrite, sector));
        }

        History = new SectorHistory(setup.Length, MaxLength, BackingTag);
        _io = new CrashIo(this, setup, _random);
    }

    internal WriteLog Log { get; } = new();

    internal SectorHistory History { get; }

    internal int MaxLength { get; }

    /// <summary>Decides what parts do, beside what the guest does.</summary>
    internal Random Extra { get; }

    /// <summary>The image as it is open now.</summary>
    internal Qcow2Node Node { get; private set; } = null!;

    /// <summary>Whether the format lets a snapshot change the size.</summary>
    internal bool CanResizeWithSnapshot => Node.Image.Geometry.Version >= 3 && !_setup.HasBitmaps;

    /// <summary>Runs it.</summary>
    /// <returns>The number of crash states that were looked at.</returns>
    internal async IoTask<int> RunAsync()
    {
        await PrepareAsync();
        for (int step = 0; step < _setup.Steps; step++)
        {
            if (_parts.Count > 0 && Extra.Next(4) == 0)
            {
                await _parts[Extra.Next(_parts.Count)].StepAsync();
                _ends.Add(Log.Now);
            }

            await StepAsync();
            _ends.Add(Log.Now);
        }

        int end = Log.Now;
        await CloseAsync();
        int[] moments = [.. Enumerable.Range(0, _setup.States).Select(i => _random.Next(i % 8 == 0 ? Log.Now + 1 : end + 1)).Select(NearEnd).Order()];
        var image = new CrashSampler(_disk);
        CrashSampler? data = _dataFile is null ? null : new CrashSampler(_dataFile);
        CrashSampler? below = _commits?.Sampler();
        for (int i = 0; i < moments.Length; i++)
        {
            var random = new Random((_seed * 7919) + i);
            var disk = new MemoryDisk(image.Sample(moments[i], random));
            MemoryDisk? dataDisk = data is null ? null : new MemoryDisk(data.Sample(moments[i], random));
            MemoryDisk? belowDisk = below is null ? null : new MemoryDisk(below.Sample(moments[i], random));
            try
            {
                await CheckAsync(disk, dataDisk, belowDisk, moments[i], i);
            }
            catch (Exception e)
            {
                throw new Xunit.Sdk.XunitException($"Seed {_seed}, state {i} of {moments.Length}, moment {moments[i]}, {_setup}: {e.Message}\n{e.StackTrace}\n{TextOfLog(moments[i])}", e);
            }
        }

        return moments.Length;
    }

    /// <summary>Opens the image, or a state of it, over the backing file.</summary>
    internal IoTask<Qcow2Node> OpenAsync(BlockNode disk, BlockNode? dataFile, OpenFlags flags, BlockNode? below = null)
        => Qcow2Fixture.OpenAsync(
            disk,
            below ?? (_backing.Length > 0 ? new MemoryDisk(_backing) : null),
            flags,
            new Qcow2Options { RefcountCacheSize = 1, L2CacheSize = 1, PublishMetadata = _setup.PublishesMetadata, PassDiscardRequest = _setup.PassesDiscards },
            dataFile);

    internal async IoTask ReopenAsync()
    {
        await CloseAsync();
        Node = await OpenAsync(_disk, _dataFile, OpenFlags.ReadWrite, _commits?.Node);
    }

    /// <summary>What is held back is about to be stored.</summary>
    internal async IoTask BeginCloseAsync()
    {
        foreach (ICrashPart part in _parts)
        {
            await part.BeginCloseAsync();
        }
    }

    /// <summary>It was stored.</summary>
    internal void EndClose() => _parts.ForEach(part => part.EndClose());

    /// <summary>The tags of what lies below the image.</summary>
    internal async IoTask<ulong[]> ReadBelowAsync()
    {
        byte[] below = _commits is null ? _backing : await Qcow2Fixture.ReadAsync(_commits.Node, 0, (int)_commits.Node.Length);
        return [.. Enumerable.Range(0, below.Length / SectorLength).Select(sector => BitConverter.ToUInt64(below, sector * SectorLength))];
    }

    // With more than a guest at work, much of interest happens between two steps.
    private int NearEnd(int moment)
    {
        if (_parts.Count == 0 || Extra.Next(3) != 0)
        {
            return moment;
        }

        int next = _ends.BinarySearch(moment);
        next = next < 0 ? ~next : next;
        return next < _ends.Count ? Math.Min(Log.Now, _ends[next] + Extra.Next(3)) : moment;
    }

    private ulong BackingTag(int sector) => (sector + 1) * SectorLength <= _backing.Length ? SectorHistory.Tag(BackingWrite, sector) : 0;

    private async IoTask PrepareAsync()
    {
        var disk = new MemoryDisk();
        MemoryDisk? dataFile = _setup.HasDataFile ? new MemoryDisk() : null;
        await Qcow2Fixture.CreateAsync(
            disk,
            _setup.Length,
            dataFile,
            [
                ("cluster_size", $"{1 << _setup.ClusterBits}"),
                ("compat", _setup.Version),
                ("refcount_bits", $"{_setup.RefcountBits}"),
                ("extended_l2", _setup.IsExtended ? "on" : "off"),
                ("preallocation", _setup.Preallocation),
                ("compression_type", _setup.Compression),
                ("data_file_raw", _setup.IsDataFileRaw ? "on" : "off"),
                ("lazy_refcounts", _setup.IsLazy ? "on" : "off"),
                .. _setup.Encryption is { } format ? Qcow2Fixture.Encrypted(format) : [],
            ]);
        _disk = new RecordingNode(new MemoryDisk(disk.Snapshot(), _seed), disk.Snapshot(), Log);
        if (dataFile is not null)
        {
            _dataFile = new RecordingNode(new MemoryDisk(dataFile.Snapshot(), _seed + 1), dataFile.Snapshot(), Log);
        }

        if (_setup.Commits)
        {
            _commits = new CrashCommits(this);
            await _commits.PrepareAsync(_backing, _seed);
            _parts.Add(_commits);
        }

        Node = await OpenAsync(_disk, _dataFile, OpenFlags.ReadWrite, _commits?.Node);
        if (_setup.HasSnapshots)
        {
            _snapshots = new CrashSnapshots(this);
            _parts.Add(_snapshots);
        }

        if (_setup.HasBitmaps)
        {
            _parts.Add(new CrashBitmaps(this));
        }

        if (_setup.ChangesHeader)
        {
            _parts.Add(new CrashHeader(this, _setup));
        }
    }

    private async IoTask StepAsync()
    {
        switch (_random.Next(20))
        {
            case < 3:
                await _io.FlushAsync();
                break;
            case 3 when (_setup.BackingLength == 0 || _random.Next(3) == 0) && (Node.Image.Geometry.Version >= 3 || _snapshots?.HasAny != true):
                await _io.ResizeAsync();
                break;
            case 4:
                await ReopenAsync();
                break;
            case 5 or 6:
                await _io.DiscardAsync();
                break;
            case 7 or 8 when _dataFile is null && _setup.Encryption is null:
                await _io.WriteCompressedAsync();
                break;
            default:
                await _io.WriteSomeAsync();
                break;
        }
    }

    private async IoTask CloseAsync()
    {
        await BeginCloseAsync();
        await Node.CloseAsync();
        EndClose();
        History.Flush(Log.Tick(), Log.Tick());
    }

    private async IoTask CheckAsync(MemoryDisk disk, MemoryDisk? dataFile, MemoryDisk? belowDisk, int moment, int index)
    {
        if (index == 5 && _seed % 16 == 0 && dataFile is null && !_setup.ChangesHeader && _setup.Encryption is null && Qemu.IsInstalled)
        {
            CheckWithPeer(disk.Snapshot());
        }

        Qcow2Node? below = belowDisk is null ? null : await CrashCommits.OpenAsync(belowDisk);
        Qcow2Node node = await OpenAsync(disk, dataFile, OpenFlags.ReadWrite | OpenFlags.Check, below);
        var messages = new List<string>();
        bool isVersion2 = node.Image.Geometry.Version < 3;
        if (node.Image.Header.Current.IsDirty)
        {
            Assert.True(_setup.IsMarkedDirty || _setup.HasSnapshots || _setup.ChangesHeader || _setup.Commits);
            await node.CheckAsync(Qcow2Repair.All);
        }

        Qcow2CheckResult result = await node.CheckAsync(report: messages.Add);
        if (isVersion2 && _setup.HasSnapshots && result.Corruptions > 0)
        {
            // Version 2 can't say that a snapshot is being made: flags that tell what is shared may be early, as counts may.
            Assert.All(messages, m => Assert.True(m.StartsWith("Leaked", StringComparison.Ordinal) || IsHarmlessFlag(m, node.Image.Geometry.ClusterBits, messages), m));
            result = await node.CheckAsync(Qcow2Repair.Leaks, messages.Add);
        }

        Assert.True(result.Corruptions + result.CheckErrors == 0, string.Join('\n', messages));
        byte[] content = await Qcow2Fixture.ReadAsync(node, 0, (int)node.Length);
        string? wrong = History.Compare(content, moment);
        if (_setup.IsDataFileRaw && dataFile is not null)
        {
            byte[] raw = dataFile.Snapshot();
            Array.Resize(ref raw, content.Length);
            wrong ??= History.Compare(raw, moment) is { } difference ? $"data file: {difference}" : null;
        }

        foreach (ICrashPart part in _parts)
        {
            wrong ??= await part.CheckAsync(node, disk, content, moment);
        }

        Assert.True(wrong is null, wrong);
        if (index % 8 == 0)
        {
            await UseAsync(node, disk, dataFile, below);
        }
        else
        {
            await node.CloseAsync();
        }
    }

    // A flag says too little, or just what is so, and the count too much. Then nobody writes to what a snapshot has, too.
    private static bool IsHarmlessFlag(string message, int clusterBits, List<string> messages)
    {
        if (Regex.Match(message, "^ERROR OFLAG_COPIED .*_entry=([0-9a-f]+) refcount=([0-9]+)$") is not { Success: true } flag)
        {
            return false;
        }

        ulong entry = ulong.Parse(flag.Groups[1].Value, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        return (entry & CopiedFlag) == 0 || messages.Contains($"Leaked cluster {(entry & OffsetMask) >> clusterBits} refcount={flag.Groups[2].Value} reference=1");
    }

    // qemu-img sees leaks at worst (exit status 3), or an image marked dirty.
    private void CheckWithPeer(byte[] image)
    {
        using var directory = new TempDirectory();
        System.IO.File.WriteAllBytes(directory["state.qcow2"], image);
        (int status, string output) = RunPeer("check", "-f", "qcow2", directory["state.qcow2"]);
        if (status == 2 && image[7] < 3 && _setup.HasSnapshots)
        {
            (status, output) = RunPeer("check", "-r", "leaks", "-f", "qcow2", directory["state.qcow2"]);
        }

        Assert.True(status is 0 or 3 || (image[7] >= 3 && (image[79] & 1) != 0), output);
    }

    private static (int Status, string Output) RunPeer(params string[] arguments)
    {
        var start = new ProcessStartInfo("qemu-img", arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd() + errors.Result;
        process.WaitForExit();
        return (process.ExitCode, output);
    }

    // What is left can be repaired and used.
    private async IoTask UseAsync(Qcow2Node node, MemoryDisk disk, MemoryDisk? dataFile, Qcow2Node? below)
    {
        await node.CheckAsync(Qcow2Repair.Leaks);
        await Model.CheckAsync(node);
        byte[] expected = await Qcow2Fixture.ReadAsync(node, 0, (int)node.Length);
        int count = Math.Min(expected.Length, 5000);
        byte[] bytes = Qcow2Fixture.Pattern(count, _seed);
        await Qcow2Fixture.WriteAsync(node, expected.Length - count, bytes);
        bytes.CopyTo(expected, expected.Length - count);
        await node.CloseAsync();
        Qcow2Node again = await OpenAsync(disk, dataFile, OpenFlags.ReadWrite, below);
        Assert.Equal(expected, await Qcow2Fixture.ReadAsync(again, 0, expected.Length));
        await Model.CheckAsync(again);
        await again.CloseAsync();
    }

    private string TextOfLog(int moment)
    {
        IEnumerable<(int At, string Text)> changes = Log.Changes.Select(c => (c.Issued, $"{(c.Disk == _disk ? "" : "data file ")}{c.Kind} {c.Offset}+{c.Length} until {c.Completed}"));
        IEnumerable<(int At, string Text)> flushes = Log.Flushes.Select(f => (f.Issued, $"Flush until {f.Completed}"));
        return string.Join('\n', changes.Concat(flushes).Where(e => e.At <= moment).OrderBy(e => e.At).TakeLast(40).Select(e => $"  {e.At}: {e.Text}"));
    }
}
