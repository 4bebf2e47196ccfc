namespace Ingot.Testing;

/// <summary>
/// Makes states that a disk may be found in after a power cut: what was flushed is there, and of the rest any subset, each change whole or torn at
/// sectors. Which, a seed decides. Ask for moments in rising order: what is behind is applied once.
/// </summary>
/// <param name="disk">The recorded disk.</param>
public sealed class CrashSampler(RecordingNode disk)
{
    private const int SectorLength = 512;
    private const byte Garbage = 0xdd;

    private readonly LoggedChange[] _changes = [.. disk.Log.Changes.Where(change => change.Disk == disk)];
    private readonly LoggedFlush[] _flushes = [.. disk.Log.Flushes.Where(flush => flush.Disk == disk)];
    private State _base = new(disk.InitialContent.ToArray());
    private int _next; // the first change that is not in the base
    private int _moment;

    /// <summary>How many changes the power cut of the last <see cref="Sample"/> could lose.</summary>
    public int Pending { get; private set; }

    /// <summary>Makes one state.</summary>
    /// <param name="moment">When the power goes.</param>
    /// <param name="random">Decides what got to the disk.</param>
    /// <returns>The content.</returns>
    public byte[] Sample(int moment, Random random)
    {
        if (moment < _moment)
        {
            _base = new State(disk.InitialContent.ToArray());
            _next = 0;
        }

        _moment = moment;
        int durable = _flushes.Where(flush => flush.Completed <= moment).Select(flush => flush.Issued).DefaultIfEmpty(0).Max();
        while (_next < _changes.Length && IsDurable(_changes[_next], durable, moment))
        {
            _base.Apply(_changes[_next++], null);
        }

        LoggedChange[] rest = [.. _changes.Skip(_next).TakeWhile(change => change.Issued <= moment)];
        LoggedChange[] open = [.. rest.Where(change => !IsDurable(change, durable, moment))];
        Pending = open.Length;
        Dictionary<LoggedChange, Random?> kept = Pick(open, random);
        var state = new State(_base);
        foreach (LoggedChange change in rest)
        {
            if (kept.TryGetValue(change, out Random? tear))
            {
                state.Apply(change, tear);
            }
            else if (IsDurable(change, durable, moment))
            {
                state.Apply(change, null);
            }
        }

        return state.ToArray();
    }

    private static bool IsDurable(LoggedChange change, int durable, int moment) => change.Completed <= (change.IsFua ? moment : durable);

    // Which changes got there, and which of them torn (with a source of chance). A single one that is early or late shows most faults of order.
    private static Dictionary<LoggedChange, Random?> Pick(LoggedChange[] open, Random random)
    {
        int style = random.Next(8);
        int odd = random.Next(Math.Max(1, open.Length));
        int cut = random.Next(open.Length + 1);
        var kept = new Dictionary<LoggedChange, Random?>(ReferenceEqualityComparer.Instance);
        for (int i = 0; i < open.Length; i++)
        {
            bool isKept = style switch
            {
                0 => i == odd,
                1 => i != odd,
                2 => i < cut,
                3 => i >= cut,
                _ => random.Next(2) == 0,
            };
            if (isKept)
            {
                bool isTorn = open[i].Length > SectorLength && random.Next(style < 4 ? 6 : 2) == 0;
                kept.Add(open[i], isTorn ? new Random(random.Next()) : null);
            }
        }

        return kept;
    }

    /// <summary>The content of a disk while changes are applied.</summary>
    private sealed class State
    {
        private byte[] _bytes;
        private int _length;

        internal State(byte[] bytes)
        {
            _bytes = bytes;
            _length = bytes.Length;
        }

        internal State(State other)
        {
            _length = other._length;
            _bytes = new byte[_length + (_length / 4)];
            other._bytes.AsSpan(0, _length).CopyTo(_bytes);
        }

        internal byte[] ToArray() => _bytes.AsSpan(0, _length).ToArray();

        internal void Apply(LoggedChange change, Random? tear)
        {
            if (change.Kind == LoggedKind.Resize)
            {
                Resize((int)change.Offset);
                return;
            }

            for (int done = 0; done < change.Length;)
            {
                int at = (int)change.Offset + done;
                int count = tear is null ? (int)change.Length : Math.Min((int)change.Length - done, SectorLength - (at % SectorLength));
                if (tear is null || tear.Next(2) == 0)
                {
                    Put(change, at, done, count);
                }

                done += count;
            }
        }

        private void Put(LoggedChange change, int at, int done, int count)
        {
            if (at + count > _length)
            {
                Resize(at + count);
            }

            Span<byte> target = _bytes.AsSpan(at, count);
            switch (change.Kind)
            {
                case LoggedKind.Write:
                    change.Bytes.AsSpan(done, count).CopyTo(target);
                    break;
                case LoggedKind.Zero:
                    target.Clear();
                    break;
                default:
                    target.Fill(Garbage);
                    break;
            }
        }

        private void Resize(int length)
        {
            if (length > _bytes.Length)
            {
                Array.Resize(ref _bytes, Math.Max(length, _bytes.Length * 2));
            }

            if (length > _length)
            {
                _bytes.AsSpan(_length, length - _length).Clear();
            }

            _length = length;
        }
    }
}
