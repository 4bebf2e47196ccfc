using CsCheck;
using Ingot.Io;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Io;

public class IoVectorTests
{
    [Fact]
    public unsafe void A_slice_of_any_segments_holds_the_same_bytes_as_the_slice_of_the_whole()
        => Gen.Select(Gen.Int[0, 7].Array[1, 6], Gen.Double[0, 1], Gen.Double[0, 1]).Sample((lengths, from, part) =>
        {
            int total = lengths.Sum();
            using var memory = new IoBuffer(Math.Max(1, total) + (64 * lengths.Length));
            var entries = stackalloc Libc.iovec[lengths.Length];
            byte* next = (byte*)memory.Pointer;
            for (int i = 0; i < lengths.Length; i++)
            {
                entries[i] = new Libc.iovec { iov_base = next, iov_len = (nuint)lengths[i] };
                next += lengths[i] + 64;
            }

            var vector = new IoVector(entries, lengths.Length, total);
            byte[] model = [.. Enumerable.Range(1, total).Select(n => (byte)n)];
            vector.CopyFrom(model);
            int offset = (int)(from * total);
            int length = (int)(part * (total - offset));
            byte[] got = new byte[length];
            vector.Slice(offset, length).CopyTo(got);
            Assert.Equal(model.AsSpan(offset, length).ToArray(), got);
            Assert.Equal(length, vector.Slice(offset, length).Length);
            Assert.Equal(model.AsSpan(offset, length).ContainsAnyExcept((byte)0), !vector.Slice(offset, length).IsZero());
        });

    [Fact]
    public void A_slice_out_of_range_is_refused()
    {
        using var memory = new IoBuffer(16);
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.Vector.Slice(8, 9));
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.Vector.Slice(-1, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.Vector.Slice(1, -1));
    }
}
