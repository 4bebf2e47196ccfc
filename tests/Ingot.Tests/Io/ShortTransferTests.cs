using Ingot.Io;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Io;

/// <summary>A kernel that does a part of what it was asked for, or was interrupted, is asked again for the rest; nobody above sees it.</summary>
public class ShortTransferTests
{
    private const int FileLength = 40_000;

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 512)]
    public void Reads_go_on_with_the_rest(bool direct, int unit) => EventLoop.RunMain(async () =>
    {
        for (int seed = 0; seed < 200; seed++)
        {
            using var ring = new StutteringRing(new Random(seed), unit);
            Random random = ring.Random;
            random.NextBytes(ring.File);
            int offset = random.Next(FileLength / 512) * 512;
            int length = random.Next(1, 40) * 512;
            using var buffer = new IoBuffer(length);
            buffer.Vector.Fill(0x99);
            await ring.RunAsync(ring.ReadAsync(ring.Descriptor, offset, buffer.Vector, direct));
            int inside = Math.Clamp(FileLength - offset, 0, length);
            Assert.True(buffer.Span[..inside].SequenceEqual(ring.File.AsSpan(offset, inside)), $"seed {seed}");
            Assert.True(!buffer.Span[inside..].ContainsAnyExcept((byte)0), $"seed {seed}: what lies behind the end is not zero");
        }

        return 0;
    });

    [Fact]
    public void Writes_go_on_with_the_rest() => EventLoop.RunMain(async () =>
    {
        for (int seed = 0; seed < 200; seed++)
        {
            using var ring = new StutteringRing(new Random(seed), 1);
            Random random = ring.Random;
            byte[] wanted = [.. ring.File];
            int length = random.Next(1, 20_000);
            int offset = random.Next(FileLength - length);
            using var buffer = new IoBuffer(length);
            random.NextBytes(buffer.Span);
            buffer.Span.CopyTo(wanted.AsSpan(offset));
            await ring.RunAsync(ring.WriteAsync(ring.Descriptor, offset, buffer.Vector));
            Assert.True(ring.File.AsSpan().SequenceEqual(wanted), $"seed {seed}");
        }

        return 0;
    });

    [Fact]
    public void A_write_of_nothing_is_a_full_disk_and_an_error_half_way_is_told() => EventLoop.RunMain(async () =>
    {
        using var ring = new StutteringRing(new Random(1), 1);
        using var buffer = new IoBuffer(4096);
        ring.Answers.Enqueue(1000);
        ring.Answers.Enqueue(0);
        Assert.Equal(Errno.ENOSPC, await ring.RunAsync(ring.WriteAsync(ring.Descriptor, 0, buffer.Vector)).Status());
        foreach (bool isRead in (bool[])[true, false])
        {
            ring.Answers.Enqueue(1000);
            ring.Answers.Enqueue(-(int)Errno.EIO);
            IoTask task = isRead ? ring.ReadAsync(ring.Descriptor, 0, buffer.Vector) : ring.WriteAsync(ring.Descriptor, 0, buffer.Vector);
            Assert.Equal(Errno.EIO, await ring.RunAsync(task).Status());
        }

        return 0;
    });

    /// <summary>A ring on a file in memory that does as much of a request as chance says, or what a test has said.</summary>
    private sealed class StutteringRing(Random random, int unit) : IoRing
    {
        private readonly Queue<RingOperation> _queue = new();

        internal Random Random => random;

        internal byte[] File { get; } = new byte[FileLength];

        internal FileDescriptor Descriptor { get; } = new(Libc.open("/dev/null", Libc.O_RDONLY, 0));

        /// <summary>What the next requests give.</summary>
        internal Queue<int> Answers { get; } = new();

        public override string EngineName => "stuttering";

        internal override bool HasCompletions => false;

        public override void Wake()
        {
        }

        public override void Dispose() => Descriptor.Dispose();

        internal override void Enqueue(RingOperation operation) => _queue.Enqueue(operation);

        internal override void Cancel(RingOperation operation) => throw new NotSupportedException();

        internal override void Submit(long timeoutNanoseconds)
        {
        }

        internal override void Drain()
        {
            while (_queue.TryDequeue(out RingOperation? operation))
            {
                operation.Finish(Answers.TryDequeue(out int answer) ? answer : Do(operation));
            }
        }

        internal async IoTask RunAsync(IoTask task)
        {
            Drain();
            await task;
        }

        private int Do(RingOperation operation)
        {
            if (random.Next(4) == 0)
            {
                return -(int)(random.Next(2) == 0 ? Errno.EINTR : Errno.EAGAIN);
            }

            int inside = (int)Math.Clamp(FileLength - operation.Offset, 0, operation.Data.Length);
            int count = Math.Min(inside, random.Next(1, 1 + (inside / unit)) * unit);
            Span<byte> place = File.AsSpan((int)Math.Min(operation.Offset, FileLength), count);
            if (operation.Opcode == RingOpcode.Read)
            {
                operation.Data.Slice(0, count).CopyFrom(place);
            }
            else
            {
                operation.Data.Slice(0, count).CopyTo(place);
            }

            return count;
        }
    }
}
