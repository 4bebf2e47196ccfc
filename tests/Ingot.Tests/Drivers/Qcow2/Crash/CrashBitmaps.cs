using Ingot.Block;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;

namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>
/// Persistent bitmaps: those that a crash leaves are what was stored last (or is being stored), each marked inconsistent or with the content it was
/// stored with; and then, if it records, the disk has not changed since.
/// </summary>
internal sealed class CrashBitmaps(CrashWorkload workload) : ICrashPart
{
    private const int Most = 3;

    private readonly List<Stored> _stored = [new Stored(0, []) { Completed = 0 }];
    private readonly Dictionary<string, bool> _now = [];
    private int _count;

    public async IoTask StepAsync()
    {
        string[] names = [.. _now.Keys];
        string name = names.Length == 0 ? "" : names[workload.Extra.Next(names.Length)];
        switch (workload.Extra.Next(6))
        {
            case 0 when names.Length > 0:
                await workload.Node.RemoveBitmapAsync(name);
                _now.Remove(name);
                break;
            case 1 when names.Length > 0:
                await workload.Node.ClearBitmapAsync(name);
                break;
            case 2 when names.Length > 0:
                _now[name] = !_now[name];
                await workload.Node.EnableBitmapAsync(name, _now[name]);
                break;
            case 3 when names.Length > 1:
                await workload.Node.MergeBitmapAsync(name, await workload.Node.GetBitmapAsync(names.First(other => other != name)));
                break;
            default:
                await AddAsync();
                break;
        }
    }

    public async IoTask BeginCloseAsync()
    {
        var bitmaps = new List<Bitmap>();
        foreach ((string name, bool isEnabled) in _now)
        {
            bitmaps.Add(new Bitmap(name, isEnabled, Bytes(await workload.Node.GetBitmapAsync(name))));
        }

        _stored.Add(new Stored(workload.Log.Tick(), bitmaps));
    }

    public void EndClose() => _stored[^1].Completed = workload.Log.Tick();

    public async IoTask<string?> CheckAsync(Qcow2Node node, MemoryDisk disk, byte[] content, int moment)
    {
        await node.Image.Bitmaps.ReadAsync();
        string? wrong = "no bitmaps were ever stored";
        for (int i = _stored.FindLastIndex(s => s.Completed <= moment); i < _stored.Count && _stored[i].Issued <= moment; i++)
        {
            wrong = await CompareAsync(node, _stored[i], content, moment);
            if (wrong is null)
            {
                return null;
            }
        }

        return wrong;
    }

    private static byte[] Bytes(DirtyBitmap bitmap)
    {
        var bytes = new byte[(bitmap.StoredLength + 7) & ~7];
        bitmap.Save(0, bytes);
        return bytes;
    }

    private async IoTask AddAsync()
    {
        if (_now.Count < Most)
        {
            string name = new('b', workload.Extra.Next(1, 40));
            name += _count++;
            await workload.Node.AddBitmapAsync(name, 512L << workload.Extra.Next(8));
            _now.Add(name, true);
        }
    }

    private async IoTask<string?> CompareAsync(Qcow2Node node, Stored stored, byte[] content, int moment)
    {
        IReadOnlyList<BitmapEntry> entries = node.Image.Bitmaps.Entries;
        string names = string.Join(' ', entries.Select(e => e.Name).Order());
        string expected = string.Join(' ', stored.Bitmaps.Select(b => b.Name).Order());
        if (names != expected)
        {
            return $"bitmaps are [{names}], not [{expected}]";
        }

        bool isUntouched = stored.Completed <= moment && !workload.Log.Changes.Any(c => c.Issued > stored.Completed && c.Issued <= moment);
        bool vouches = false;
        foreach (BitmapEntry entry in entries)
        {
            Bitmap bitmap = stored.Bitmaps.First(b => b.Name == entry.Name);
            if (entry.IsInconsistent)
            {
                if (isUntouched)
                {
                    return $"bitmap '{entry.Name}' was stored and is inconsistent";
                }

                continue;
            }

            vouches |= entry.IsEnabled;
            byte[] bytes = Bytes(await node.GetBitmapAsync(entry.Name));
            if (entry.IsEnabled != bitmap.IsEnabled || !bytes.AsSpan().SequenceEqual(bitmap.Bytes))
            {
                return $"bitmap '{entry.Name}' (flags {entry.Flags}, {bytes.Length} bytes) is not what was stored ({(bitmap.IsEnabled ? "enabled, " : "")}{bitmap.Bytes.Length} bytes)";
            }
        }

        // Nothing that came after may be on the disk.
        string? changed = vouches && stored.Completed <= moment ? workload.History.Compare(content, stored.Completed) : null;
        return changed is null ? null : $"bitmaps are consistent but {changed}";
    }

    private sealed record Bitmap(string Name, bool IsEnabled, byte[] Bytes);

    private sealed class Stored(int issued, IReadOnlyList<Bitmap> bitmaps)
    {
        internal int Issued => issued;

        internal IReadOnlyList<Bitmap> Bitmaps => bitmaps;

        internal int Completed { get; set; } = int.MaxValue;
    }
}
