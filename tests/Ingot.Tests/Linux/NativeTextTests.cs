using System.Text;
using CsCheck;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Linux;

public sealed class NativeTextTests
{
    [Fact]
    public void Any_bytes_come_back()
        => Gen.Byte.Array[0, 40].Sample(bytes => Assert.Equal(bytes, NativeText.Encode(NativeText.Decode(bytes))));

    [Fact]
    public void Valid_text_is_what_it_is()
        => Gen.String.Sample(text =>
        {
            string valid = NativeText.ToValid(text);
            Assert.Equal(Encoding.UTF8.GetBytes(valid), NativeText.Encode(valid));
            Assert.Equal(valid, NativeText.Decode(Encoding.UTF8.GetBytes(valid)));
            Assert.False(NativeText.HasEscapes(valid));
        });

    [Fact]
    public void A_byte_that_is_no_text_is_shown_as_one_character()
    {
        string name = NativeText.Decode([(byte)'a', 0xff, (byte)'b']);
        Assert.True(NativeText.HasEscapes(name));
        Assert.Equal("a\uFFFDb", NativeText.ToValid(name));
    }

    [Fact]
    public void A_writer_gives_the_same_bytes_however_its_text_comes_in_pieces()
        => Gen.Select(Gen.Byte.Array[0, 60], Gen.Int[1, 7], Gen.Bool).Sample((bytes, piece, hasEmoji) =>
        {
            string text = hasEmoji ? $"\U0001F600{NativeText.Decode(bytes)}\U0001F600" : NativeText.Decode(bytes);
            using var stream = new MemoryStream();
            using (var writer = new StreamWriter(stream, NativeText.Encoding, 16) { AutoFlush = true })
            {
                foreach (char[] part in text.Chunk(piece))
                {
                    writer.Write(part);
                }
            }

            Assert.Equal(NativeText.Encode(text), stream.ToArray());
        });

    [Fact]
    public void Files_of_any_name_are_opened()
    {
        using var directory = new TempDirectory();
        string name = directory[NativeText.Decode([0xff, (byte)'x', 0xe9])];
        int fd = Libc.open(name, Libc.O_RDWR | Libc.O_CREAT | Libc.O_CLOEXEC, 0x1A4);
        Assert.True(fd >= 0);
        Libc.close(fd);
        Assert.NotNull(Libc.TryStat(name));
        Assert.Equal(0, Libc.unlink(name));
        Assert.Empty(Directory.GetFileSystemEntries(directory[""]));
    }
}
