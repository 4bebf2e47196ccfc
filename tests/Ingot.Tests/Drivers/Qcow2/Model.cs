using Ingot.Block;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

internal enum StepKind
{
    Write,
    Zero,
    ZeroUnmap,
    Discard,
    Read,
    Flush,
    Compressed,
    Reopen,
    Resize,
}

/// <summary>One thing to do: where it goes as a share of the disk, how long it is, and the seed of its bytes.</summary>
internal sealed record Step(StepKind Kind, double At, int Length, int Seed);

/// <summary>Does the same to an image and to an array of bytes, and compares.</summary>
internal sealed class Model(int clusterBits, int refcountBits, string version, string compression, bool extended = false, bool hasDataFile = false, bool isRaw = false, string? encryption = null)
{
    private readonly MemoryDisk? _dataFile = hasDataFile ? new MemoryDisk() : null;
    private readonly MemoryDisk _disk = new();
    private byte[] _expected = [];
    private MemoryDisk? _backing;
    private Qcow2Node _node = null!;

    internal async IoTask RunAsync(int size, int backingSize, Step[] steps)
    {
        (string, string)[] kinds = [("extended_l2", extended ? "on" : "off"), ("data_file_raw", isRaw ? "on" : "off")];
        await Qcow2Fixture.CreateAsync(_disk, size, _dataFile, [.. kinds, .. encryption is null ? [] : Qcow2Fixture.Encrypted(encryption), ("cluster_size", $"{1 << clusterBits}"), ("refcount_bits", $"{refcountBits}"), ("compat", version), ("compression_type", compression)]);
        _expected = new byte[size];
        if (backingSize > 0)
        {
            byte[] content = Qcow2Fixture.Pattern(backingSize, 7);
            content.AsSpan(0, Math.Min(size, backingSize)).CopyTo(_expected);
            _backing = new MemoryDisk(content);
        }

        _node = await Qcow2Fixture.OpenAsync(_disk, _backing, dataFile: _dataFile);
        foreach (Step step in steps)
        {
            await RunAsync(step);
        }

        await CompareAllAsync();
        await ReopenAsync();
        await CompareAllAsync();
        await CompareExtentsAsync();
        if (isRaw && encryption is null)
        {
            Assert.Equal(_expected, await Qcow2Fixture.ReadAsync(_dataFile!, 0, _expected.Length));
        }

        await CheckAsync(_node);
        await _node.CloseAsync();
    }

    internal static async IoTask CheckAsync(Qcow2Node node)
    {
        var messages = new List<string>();
        Qcow2CheckResult result = await node.CheckAsync(report: messages.Add);
        Assert.Equal([], messages);
        Assert.Equal(0, result.Corruptions + result.Leaks + result.CheckErrors);
    }

    private async IoTask RunAsync(Step step)
    {
        int offset = (int)(step.At * _expected.Length);
        int length = Math.Min(step.Length, _expected.Length - offset);
        switch (step.Kind)
        {
            case StepKind.Write:
                byte[] bytes = Qcow2Fixture.Pattern(length, step.Seed);
                await Qcow2Fixture.WriteAsync(_node, offset, bytes, step.Seed % 5 == 0 ? WriteFlags.Fua : WriteFlags.None);
                bytes.CopyTo(_expected, offset);
                break;
            case StepKind.Zero or StepKind.ZeroUnmap:
                await _node.WriteZeroesAsync(offset, length, step.Kind == StepKind.Zero ? ZeroFlags.None : ZeroFlags.MayUnmap);
                _expected.AsSpan(offset, length).Clear();
                break;
            case StepKind.Discard:
                await _node.DiscardAsync(offset, length);
                await TakeDiscardAsync(offset, length);
                break;
            case StepKind.Read:
                Assert.Equal(_expected.AsSpan(offset, length).ToArray(), await Qcow2Fixture.ReadAsync(_node, offset, length));
                break;
            case StepKind.Flush:
                await _node.FlushAsync();
                break;
            case StepKind.Compressed:
                await WriteCompressedAsync(offset, length, step.Seed);
                break;
            case StepKind.Reopen:
                await ReopenAsync();
                break;
            case StepKind.Resize:
                await ResizeAsync(step);
                break;
        }
    }

    // A discarded byte is zero or as it was.
    private async IoTask TakeDiscardAsync(int offset, int length)
    {
        byte[] now = await Qcow2Fixture.ReadAsync(_node, offset, length);
        for (int i = 0; i < length; i++)
        {
            Assert.True(now[i] == 0 || now[i] == _expected[offset + i]);
            _expected[offset + i] = now[i];
        }
    }

    private async IoTask WriteCompressedAsync(int offset, int length, int seed)
    {
        int cluster = 1 << clusterBits;
        offset &= -cluster;
        length = Math.Min((length + cluster - 1) & -cluster, _expected.Length - offset);
        if (length <= 0 || hasDataFile || encryption is not null)
        {
            return;
        }

        // Half of it packs well, the rest not at all.
        byte[] bytes = new byte[length];
        bytes.AsSpan().Fill((byte)seed);
        Qcow2Fixture.Pattern(length / 2, seed).CopyTo(bytes, 0);
        await Qcow2Fixture.WriteAsync(_node, offset, bytes, WriteFlags.Compressed);
        bytes.CopyTo(_expected, offset);
    }

    private async IoTask ResizeAsync(Step step)
    {
        int size = Math.Max(512, ((int)(_expected.Length * (0.5 + step.At)) + 511) & -512);
        size = Math.Min(size, 4 << 20);
        await _node.ResizeAsync(size, size > _expected.Length && step.Seed % 4 == 0 ? Preallocation.Metadata : Preallocation.Off);
        Array.Resize(ref _expected, size);
    }

    private async IoTask ReopenAsync()
    {
        await _node.CloseAsync();
        _node = await Qcow2Fixture.OpenAsync(_disk, _backing, dataFile: _dataFile);
    }

    private async IoTask CompareAllAsync() => Assert.Equal(_expected, await Qcow2Fixture.ReadAsync(_node, 0, _expected.Length));

    private async IoTask CompareExtentsAsync()
    {
        for (long at = 0; at < _expected.Length;)
        {
            Extent extent = await _node.GetExtentAsync(at, _expected.Length - at);
            Assert.Equal(at, extent.Offset);
            Assert.InRange(extent.Length, 1, _expected.Length - at);
            ReadOnlyMemory<byte> part = _expected.AsMemory((int)at, (int)extent.Length);
            if (extent.IsZero)
            {
                Assert.False(part.Span.ContainsAnyExcept((byte)0));
            }
            else if (extent.IsData && (extent.Flags & ExtentFlags.OffsetValid) != 0)
            {
                MemoryDisk file = _dataFile ?? _disk;
                byte[] stored = await Qcow2Fixture.ReadAsync(file, extent.HostOffset, (int)Math.Min(extent.Length, file.Length - extent.HostOffset));
                Assert.Equal(stored, part.Slice(0, stored.Length).ToArray());
            }

            at = extent.End;
        }
    }
}
