using CsCheck;
using Ingot.Block;
using Xunit;

namespace Ingot.Tests.Block;

/// <summary>A dirty bitmap beside an array of bools.</summary>
public class DirtyBitmapTests
{
    [Fact]
    public void Behaves_like_an_array()
        => Gen.Select(Gen.Long[1, 300_000], Gen.Int[9, 13], Gen.Select(Gen.Int[0, 3], Gen.Double.Unit, Gen.Long[0, 100_000]).Array[0, 20]).Sample((length, bits, acts) =>
        {
            var bitmap = new DirtyBitmap(length, bits);
            bool[] model = new bool[(length + (1 << bits) - 1) >> bits];
            foreach ((int kind, double at, long bytes) in acts)
            {
                long offset = (long)(at * length);
                if (kind == 3)
                {
                    length = bytes + 1;
                    bitmap.Resize(length);
                    Array.Resize(ref model, (int)((length + (1 << bits) - 1) >> bits));
                    continue;
                }

                for (int i = 0; i < model.Length; i++)
                {
                    (long first, long end) = ((long)i << bits, Math.Min(length, (i + 1L) << bits));
                    bool touches = first < offset + bytes && end > offset;
                    bool covers = first >= offset && end <= Math.Min(length, offset + bytes);
                    model[i] = kind == 0 ? model[i] && !covers : model[i] || touches;
                }

                if (kind == 0)
                {
                    bitmap.Reset(offset, bytes);
                }
                else
                {
                    bitmap.Set(offset, bytes);
                }
            }

            Check(bitmap, model);
            byte[] saved = new byte[(bitmap.StoredLength + 7) & ~7];
            bitmap.Save(0, saved);
            var loaded = new DirtyBitmap(length, bits);
            loaded.Load(0, saved);
            Check(loaded, model);
            var merged = new DirtyBitmap(length, bits);
            merged.Merge(bitmap);
            Check(merged, model);
        });

    private static void Check(DirtyBitmap bitmap, bool[] model)
    {
        bool[] found = new bool[model.Length];
        long count = 0;
        for (long at = 0; bitmap.TryFindDirty(at, out long offset, out long length); at = offset + length)
        {
            count += length;
            for (long i = offset; i < offset + length; i += bitmap.Granularity)
            {
                found[i >> bitmap.GranularityBits] = true;
            }
        }

        Assert.Equal(model, found);
        Assert.Equal(count, bitmap.CountDirty());
    }
}
