using System.Buffers.Binary;
using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>What --untrusted forbids an image, and that it forbids nothing else.</summary>
public sealed class UntrustedTests : IDisposable
{
    private readonly TempDirectory _directory = new();

    public UntrustedTests()
    {
        File.WriteAllText(_directory["secret"], new string('s', 1 << 20));
        Succeeds("create", "-q", "-f", "qcow2", _directory["plain"], "1M");
        Succeeds("create", "-q", "-f", "qcow2", "-b", _directory["secret"], "-F", "raw", _directory["thief"]);
    }

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("info")]
    [InlineData("check")]
    [InlineData("map")]
    [InlineData("measure")]
    [InlineData("bench", "-c", "1")]
    public void PlainImage_IsServedAsEver(params string[] command)
        => Succeeds([.. command, "--untrusted", "-f", "qcow2", _directory["plain"]]);

    [Fact]
    public void PlainImage_IsConverted()
    {
        Succeeds("convert", "--untrusted", "-f", "qcow2", "-O", "raw", _directory["plain"], _directory["out"]);
        Succeeds("compare", "--untrusted", "-f", "qcow2", "-F", "raw", _directory["plain"], _directory["out"]);
        Succeeds("dd", "--untrusted", "-f", "qcow2", $"if={_directory["plain"]}", $"of={_directory["out2"]}");
    }

    [Theory]
    [InlineData("info")]
    [InlineData("check")]
    public void Format_IsNotGuessed(string command)
        => Fails("The format of an untrusted image is not guessed", command, "--untrusted", _directory["plain"]);

    [Fact]
    public void BackingFile_IsNamedButNotOpened()
    {
        Assert.Contains("backing file: ", Succeeds("info", "--untrusted", "-f", "qcow2", _directory["thief"]), StringComparison.Ordinal);
        Succeeds("check", "--untrusted", "-f", "qcow2", _directory["thief"]);
        Fails($"names the backing file '{_directory["secret"]}', which is not opened", "info", "--backing-chain", "--untrusted", "-f", "qcow2", _directory["thief"]);
    }

    [Fact]
    public void Overlay_OnAnImageThatNamesOthers_IsNotMade()
    {
        Succeeds("create", "-q", "--untrusted", "-f", "qcow2", "-F", "qcow2", "-b", _directory["plain"], _directory["overlay"]);
        Fails("names the backing file", "create", "-q", "--untrusted", "-f", "qcow2", "-F", "qcow2", "-b", _directory["thief"], _directory["overlay2"]);
        Fails("is not guessed", "create", "-q", "--untrusted", "-f", "qcow2", "-b", _directory["plain"], _directory["overlay2"]);
    }

    [Fact]
    public void TablesNamedAgainAndAgain_AreRefused()
    {
        // One L2 table for all of a 1 TiB disk: a file of a few clusters that would take hours to walk through.
        Succeeds("create", "-q", "-f", "qcow2", _directory["loop"], "1T");
        byte[] image = File.ReadAllBytes(_directory["loop"]);
        int entries = BinaryPrimitives.ReadInt32BigEndian(image.AsSpan(36));
        long l1 = BinaryPrimitives.ReadInt64BigEndian(image.AsSpan(40));
        Array.Resize(ref image, image.Length + (128 << 10) & -(64 << 10));
        for (int i = 0; i < entries; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan((int)l1 + (i * 8)), (ulong)(uint)(image.Length - (64 << 10)) | (1UL << 63));
        }

        File.WriteAllBytes(_directory["loop"], image);
        Fails("names the L2 table at", "map", "--untrusted", "-f", "qcow2", _directory["loop"]);
        Fails("names the L2 table at", "measure", "--untrusted", "-f", "qcow2", _directory["loop"]);
    }

    [Fact]
    public void NameWithANul_EndsThere()
    {
        byte[] image = File.ReadAllBytes(_directory["thief"]);
        int offset = (int)BinaryPrimitives.ReadInt64BigEndian(image.AsSpan(8));
        image[offset + _directory["secret"].Length - 1] = 0;
        File.WriteAllBytes(_directory["nul"], image);
        Assert.Contains($"backing file: {_directory["secre"]}\n", Succeeds("info", "--untrusted", "-f", "qcow2", _directory["nul"]), StringComparison.Ordinal);
        Fails("Could not open backing file", "map", _directory["nul"]);
    }

    [Fact]
    public void BitmapsTogether_AreBounded()
    {
        Succeeds("create", "-q", "-f", "qcow2", _directory["bitmaps"], "64G");
        for (int i = 0; i < 3; i++)
        {
            Succeeds("bitmap", "--add", "-g", "512", _directory["bitmaps"], $"b{i}");
        }

        Fails("dirty bitmaps up to 'b2'", "bitmap", "--untrusted", "--add", "-f", "qcow2", _directory["bitmaps"], "x");
    }

    [Fact]
    public void DataOfTheBackingFile_IsNotRead()
    {
        Fails("names the backing file", "convert", "--untrusted", "-f", "qcow2", _directory["thief"], _directory["out"]);
        Assert.False(File.Exists(_directory["out"]));
        Fails("names the backing file", "convert", "--image-opts", $"driver=qcow2,untrusted=on,file.filename={_directory["thief"]}", _directory["out"]);
    }

    [Fact]
    public void NoBackingFile_IsWrittenToOrReplacedBlindly()
    {
        Fails("names the backing file", "commit", "--untrusted", "-f", "qcow2", _directory["thief"]);
        Fails("names the backing file", "rebase", "--untrusted", "-f", "qcow2", "-b", _directory["secret"], "-F", "raw", _directory["thief"]);
        Succeeds("rebase", "-u", "--untrusted", "-f", "qcow2", "-b", "", _directory["thief"]);
        Succeeds("rebase", "--untrusted", "-f", "qcow2", "-b", _directory["secret"], "-F", "raw", _directory["plain"]);
    }

    [Fact]
    public void BackingFileThatTheUserGives_IsCommittedTo()
        => Succeeds("commit", "--image-opts", $"driver=qcow2,untrusted=on,file.filename={_directory["thief"]},backing.driver=raw,backing.file.driver=file,backing.file.filename={_directory["secret"]}");

    [Fact]
    public void BackingFileThatTheUserGives_IsOpened()
        => Succeeds("convert", "--image-opts", $"driver=qcow2,untrusted=on,file.filename={_directory["thief"]},backing.driver=file,backing.filename={_directory["secret"]}", _directory["out"]);

    [Theory]
    [InlineData("json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"secret\"}}")]
    [InlineData("file:secret")]
    public void Name_IsAPathWhateverItLooksLike(string name)
        => Fails("No such file or directory", "info", "--untrusted", "-f", "raw", name);

    [Fact]
    public void TablesThatClaimMuchMemory_AreRefused()
    {
        // The largest L1 table that the format allows, in a file that is sparse.
        byte[] image = File.ReadAllBytes(_directory["plain"]);
        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(36), (32 << 20) / 8);
        File.WriteAllBytes(_directory["large"], image);
        using (FileStream file = File.OpenWrite(_directory["large"]))
        {
            file.SetLength(1L << 40);
        }

        Succeeds("info", "--untrusted", "-f", "qcow2", _directory["large"]);
        WriteScatteredTables(_directory["large"]);
        Fails("count of references needs", "check", "--untrusted", "-f", "qcow2", _directory["large"]);
    }

    // L1 entries that name L2 tables all over a huge file, each twice: that costs the check memory for counts of the neighbourhood.
    private static void WriteScatteredTables(string path)
    {
        const int Entries = 2000;
        byte[] l1 = new byte[Entries * 8];
        for (int i = 0; i < Entries; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(l1.AsSpan(i * 8), (1UL << 63) | ((ulong)((i / 2) + 1) << 33));
        }

        using FileStream file = File.OpenWrite(path);
        file.SetLength(1L << 43);
        byte[] head = File.ReadAllBytes(path[..^5] + "plain");
        file.Position = (long)BinaryPrimitives.ReadUInt64BigEndian(head.AsSpan(40));
        file.Write(l1);
    }

    private static string Succeeds(params string[] words)
    {
        CliResult result = CliRunner.Image(words);
        Assert.True(result.Status == 0, $"{string.Join(' ', words)}: {result.Error}");
        return result.Out;
    }

    private static void Fails(string message, params string[] words)
    {
        CliResult result = CliRunner.Image(words);
        Assert.NotEqual(0, result.Status);
        Assert.Contains(message, result.Error, StringComparison.Ordinal);
    }
}
