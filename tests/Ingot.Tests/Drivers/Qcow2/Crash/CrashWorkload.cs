using System.Diagnostics;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>
/// Writes, zeroes, discards, flushes and resizes an image at random, cuts the power at random moments, and looks at what is left: no cluster is used
/// uncounted, what was flushed is there, and what was not is old or new. A seed says all of it.
/// </summary>
internal sealed class CrashWorkload
{
    private const int SectorLength = SectorHistory.SectorLength;
    private const int BackingWrite = 1 << 24;

    private readonly int _seed;
    private readonly CrashSetup _setup;
    private readonly Random _random;
    private readonly WriteLog _log = new();
    private readonly SectorHistory _history;
    private readonly byte[] _backing;
    private readonly int _maxLength;
    private RecordingNode _disk = null!;
    private RecordingNode? _dataFile;
    private Qcow2Node _node = null!;
    private int _writes;

    internal CrashWorkload(int seed, CrashSetup setup)
    {
        _seed = seed;
        _setup = setup;
        _random = new Random(seed);
        _maxLength = setup.Length * 2;
        _backing = new byte[setup.BackingLength];
        for (int sector = 0; sector < _backing.Length / SectorLength; sector++)
        {
            SectorHistory.Fill(_backing.AsSpan(sector * SectorLength, SectorLength), SectorHistory.Tag(BackingWrite, sector));
        }

        _history = new SectorHistory(setup.Length, _maxLength, BackingTag);
    }

    /// <summary>Runs it.</summary>
    /// <returns>The number of crash states that were looked at.</returns>
    internal async IoTask<int> RunAsync()
    {
        await PrepareAsync();
        for (int step = 0; step < _setup.Steps; step++)
        {
            await StepAsync();
        }

        int end = _log.Now;
        await _node.CloseAsync();
        int[] moments = [.. Enumerable.Range(0, _setup.States).Select(i => _random.Next(i % 8 == 0 ? _log.Now + 1 : end + 1)).Order()];
        var image = new CrashSampler(_disk);
        CrashSampler? data = _dataFile is null ? null : new CrashSampler(_dataFile);
        for (int i = 0; i < moments.Length; i++)
        {
            var random = new Random((_seed * 7919) + i);
            var disk = new MemoryDisk(image.Sample(moments[i], random));
            MemoryDisk? dataDisk = data is null ? null : new MemoryDisk(data.Sample(moments[i], random));
            try
            {
                await CheckAsync(disk, dataDisk, moments[i], i);
            }
            catch (Exception e)
            {
                throw new Xunit.Sdk.XunitException($"Seed {_seed}, state {i} of {moments.Length}, moment {moments[i]}, {_setup}: {e.Message}\n{e.StackTrace}\n{TextOfLog(moments[i])}", e);
            }
        }

        return moments.Length;
    }

    private async IoTask PrepareAsync()
    {
        var disk = new MemoryDisk();
        MemoryDisk? dataFile = _setup.HasDataFile ? new MemoryDisk() : null;
        await Qcow2Fixture.CreateAsync(
            disk,
            _setup.Length,
            dataFile,
            ("cluster_size", $"{1 << _setup.ClusterBits}"),
            ("compat", _setup.Version),
            ("refcount_bits", $"{_setup.RefcountBits}"),
            ("extended_l2", _setup.IsExtended ? "on" : "off"),
            ("lazy_refcounts", _setup.IsLazy ? "on" : "off"));
        _disk = new RecordingNode(new MemoryDisk(disk.Snapshot(), _seed), disk.Snapshot(), _log);
        if (dataFile is not null)
        {
            _dataFile = new RecordingNode(new MemoryDisk(dataFile.Snapshot(), _seed + 1), dataFile.Snapshot(), _log);
        }

        _node = await OpenAsync(_disk, _dataFile, OpenFlags.ReadWrite);
    }

    private IoTask<Qcow2Node> OpenAsync(BlockNode disk, BlockNode? dataFile, OpenFlags flags)
        => Qcow2Fixture.OpenAsync(
            disk,
            _backing.Length > 0 ? new MemoryDisk(_backing) : null,
            flags,
            new Qcow2Options { RefcountCacheSize = 1, L2CacheSize = 1, PublishMetadata = _setup.PublishesMetadata },
            dataFile);

    private ulong BackingTag(int sector) => (sector + 1) * SectorLength <= _backing.Length ? SectorHistory.Tag(BackingWrite, sector) : 0;

    private async IoTask StepAsync()
    {
        switch (_random.Next(20))
        {
            case < 3:
                await FlushAsync();
                break;
            case 3 when _setup.BackingLength == 0 || _random.Next(3) == 0:
                await ResizeAsync();
                break;
            case 4:
                await _node.CloseAsync();
                _history.Flush(_log.Tick(), _log.Tick());
                _node = await OpenAsync(_disk, _dataFile, OpenFlags.ReadWrite);
                break;
            case 5 or 6:
                await DiscardAsync();
                break;
            case 7 or 8 when _dataFile is null:
                await WriteCompressedAsync();
                break;
            default:
                await WriteSomeAsync();
                break;
        }
    }

    // Several at once, side by side in sectors but not in clusters; sometimes a flush among them.
    private async IoTask WriteSomeAsync()
    {
        var running = new List<IoTask>();
        int total = (int)(_node.Length / SectorLength);
        int at = _random.Next(total);
        for (int i = _random.Next(1, 5); i > 0 && at < total; i--)
        {
            int count = Math.Min(_random.Next(1, _random.Next(4) == 0 ? 100 : 12), total - at);
            running.Add(WriteAsync(at, count, _random.Next(2, 10)));
            if (_random.Next(10) == 0)
            {
                running.Add(FlushAsync());
            }

            at += count + (_random.Next(3) == 0 ? _random.Next(total / 2) : _random.Next(3));
        }

        foreach (IoTask task in running)
        {
            await task;
        }
    }

    private async IoTask WriteAsync(int first, int count, int kind)
    {
        if (kind is 2 or 3)
        {
            bool isDurable = _random.Next(8) == 0;
            int issued = _log.Tick();
            _history.Write(first, new ulong[count], issued, isDurable);
            ZeroFlags flags = (_random.Next(2) == 0 ? ZeroFlags.MayUnmap : ZeroFlags.None) | (isDurable ? ZeroFlags.Fua : ZeroFlags.None);
            await _node.WriteZeroesAsync((long)first * SectorLength, (long)count * SectorLength, flags);
            _history.Complete(first, count, _log.Tick());
            return;
        }

        await WriteAsync(first, count, kind == 4 ? WriteFlags.Fua : WriteFlags.None);
    }

    private async IoTask WriteAsync(int first, int count, WriteFlags flags)
    {
        int write = ++_writes;
        var tags = new ulong[count];
        var bytes = new byte[count * SectorLength];
        for (int i = 0; i < count; i++)
        {
            tags[i] = SectorHistory.Tag(write, first + i);
            SectorHistory.Fill(bytes.AsSpan(i * SectorLength, SectorLength), tags[i]);
        }

        _history.Write(first, tags, _log.Tick(), (flags & WriteFlags.Fua) != 0);
        await Qcow2Fixture.WriteAsync(_node, (long)first * SectorLength, bytes, flags);
        _history.Complete(first, count, _log.Tick());
    }

    private IoTask WriteCompressedAsync()
    {
        int perCluster = (1 << _setup.ClusterBits) / SectorLength;
        int clusters = (int)(_node.Length >> _setup.ClusterBits);
        int first = _random.Next(clusters + 1);
        int count = Math.Min(_random.Next(1, 4), clusters - first);
        return count == 0 ? IoTask.Completed : WriteAsync(first * perCluster, count * perCluster, WriteFlags.Compressed);
    }

    // What is read after a discard is zero or as it was, and stays so.
    private async IoTask DiscardAsync()
    {
        int total = (int)(_node.Length / SectorLength);
        int first = _random.Next(total);
        int count = Math.Min(_random.Next(1, 3 << (_setup.ClusterBits - 9)), total - first);
        int issued = _log.Tick();
        await _node.DiscardAsync((long)first * SectorLength, (long)count * SectorLength);
        int completed = _log.Tick();
        byte[] now = await Qcow2Fixture.ReadAsync(_node, (long)first * SectorLength, count * SectorLength);
        for (int i = 0; i < count; i++)
        {
            ulong tag = BitConverter.ToUInt64(now, i * SectorLength);
            _history.Write(first + i, [tag], issued);
            _history.Complete(first + i, 1, completed);
        }
    }

    private async IoTask FlushAsync()
    {
        int issued = _log.Tick();
        await _node.FlushAsync();
        _history.Flush(issued, _log.Tick());
    }

    // While a disk gets smaller, what it loses is as it was, or zero, or shows what is below; where it gets larger there are zeroes.
    private async IoTask ResizeAsync()
    {
        int old = (int)(_node.Length / SectorLength);
        int sectors = _random.Next(1, _maxLength / SectorLength);
        int issued = _log.Tick();
        for (int sector = Math.Min(old, sectors); sector < old; sector++)
        {
            _history.Write(sector, [BackingTag(sector)], issued);
            _history.Write(sector, [0], issued);
        }

        await _node.ResizeAsync((long)sectors * SectorLength, sectors > old && _setup.BackingLength == 0 && _random.Next(4) == 0 ? Preallocation.Metadata : Preallocation.Off);
        int completed = _log.Tick();
        _history.Complete(Math.Min(old, sectors), Math.Max(0, old - sectors), completed);
        _history.Flush(completed, completed);
        _history.Resize((long)sectors * SectorLength, issued, completed);
    }

    private async IoTask CheckAsync(MemoryDisk disk, MemoryDisk? dataFile, int moment, int index)
    {
        if (index == 5 && _seed % 16 == 0 && dataFile is null && Qemu.IsInstalled)
        {
            CheckWithPeer(disk.Snapshot());
        }

        Qcow2Node node = await OpenAsync(disk, dataFile, OpenFlags.ReadWrite | OpenFlags.Check);
        var messages = new List<string>();
        if (node.Image.Header.Current.IsDirty)
        {
            Assert.True(_setup.IsMarkedDirty);
            await node.CheckAsync(Qcow2Repair.All);
        }

        Qcow2CheckResult result = await node.CheckAsync(report: messages.Add);
        Assert.True(result.Corruptions + result.CheckErrors == 0, string.Join('\n', messages));
        string? wrong = _history.Compare(await Qcow2Fixture.ReadAsync(node, 0, (int)node.Length), moment);
        Assert.True(wrong is null, wrong);
        if (index % 8 == 0)
        {
            await UseAsync(node, disk, dataFile);
        }
        else
        {
            await node.CloseAsync();
        }
    }

    // qemu-img sees leaks at worst (exit status 3), or an image marked dirty.
    private void CheckWithPeer(byte[] image)
    {
        using var directory = new TempDirectory();
        System.IO.File.WriteAllBytes(directory["state.qcow2"], image);
        var start = new ProcessStartInfo("qemu-img", ["check", "-f", "qcow2", directory["state.qcow2"]]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd() + errors.Result;
        process.WaitForExit();
        Assert.True(process.ExitCode is 0 or 3 || _setup.IsMarkedDirty, output);
    }

    // What is left can be repaired and used.
    private async IoTask UseAsync(Qcow2Node node, MemoryDisk disk, MemoryDisk? dataFile)
    {
        await node.CheckAsync(Qcow2Repair.Leaks);
        await Model.CheckAsync(node);
        byte[] expected = await Qcow2Fixture.ReadAsync(node, 0, (int)node.Length);
        int count = Math.Min(expected.Length, 5000);
        byte[] bytes = Qcow2Fixture.Pattern(count, _seed);
        await Qcow2Fixture.WriteAsync(node, expected.Length - count, bytes);
        bytes.CopyTo(expected, expected.Length - count);
        await node.CloseAsync();
        Qcow2Node again = await OpenAsync(disk, dataFile, OpenFlags.ReadWrite);
        Assert.Equal(expected, await Qcow2Fixture.ReadAsync(again, 0, expected.Length));
        await Model.CheckAsync(again);
        await again.CloseAsync();
    }

    private string TextOfLog(int moment)
    {
        IEnumerable<(int At, string Text)> changes = _log.Changes.Select(c => (c.Issued, $"{(c.Disk == _disk ? "" : "data file ")}{c.Kind} {c.Offset}+{c.Length} until {c.Completed}"));
        IEnumerable<(int At, string Text)> flushes = _log.Flushes.Select(f => (f.Issued, $"Flush until {f.Completed}"));
        return string.Join('\n', changes.Concat(flushes).Where(e => e.At <= moment).OrderBy(e => e.At).TakeLast(25).Select(e => $"  {e.At}: {e.Text}"));
    }
}
