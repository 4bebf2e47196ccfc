using System.Security.Cryptography;
using CsCheck;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Crypto;
using Ingot.Io;
using Ingot.Linux;
using Ingot.Tests.Drivers.Qcow2;
using Xunit;

namespace Ingot.Tests.Drivers.Crypto;

/// <summary>LUKS1 volumes: ciphers against published vectors, volumes against those of qemu-img, headers damaged field by field.</summary>
public class LuksTests
{
    private const int Size = 1 << 20;

    public static bool HasQemu => Qemu.IsInstalled;

    public static bool HasCryptsetup { get; } = Array.Exists((string[])["/usr/sbin/cryptsetup", "/sbin/cryptsetup"], System.IO.File.Exists);

    // IEEE 1619-2007, vectors 1 and 2: the first blocks of a sector.
    [Theory]
    [InlineData("1111111111111111111111111111111122222222222222222222222222222222", 0x3333333333L, 0x44, "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0")]
    [InlineData("0000000000000000000000000000000000000000000000000000000000000000", 0L, 0, "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e")]
    public void XTS_gives_the_standards_vectors(string key, long sector, byte fill, string expected)
    {
        using var cipher = new SectorCipher(CipherFormat.Parse("xts-plain64"), Convert.FromHexString(key));
        byte[] bytes = new byte[SectorCipher.SectorSize];
        bytes.AsSpan().Fill(fill);
        cipher.Encrypt(sector, bytes);
        Assert.Equal(expected, Convert.ToHexStringLower(bytes.AsSpan(0, 32)));
        cipher.Decrypt(sector, bytes);
        Assert.All(bytes, b => Assert.Equal(fill, b));
    }

    [Theory]
    [InlineData("cbc-plain", 16)]
    [InlineData("cbc-plain64", 24)]
    [InlineData("cbc-essiv:sha256", 32)]
    [InlineData("xts-plain", 32)]
    [InlineData("xts-plain64", 64)]
    [InlineData("xts-plain64", 48)]
    [InlineData("xts-essiv:sha256", 64)]
    [InlineData("cbc-essiv:md5", 16)]
    [InlineData("ctr-plain64", 32)]
    [InlineData("ctr-essiv:sha256", 24)]
    [InlineData("ecb-plain64", 16)]
    public void What_is_encrypted_is_decrypted(string mode, int keyLength)
    {
        using var cipher = new SectorCipher(CipherFormat.Parse(mode), RandomNumberGenerator.GetBytes(keyLength));
        Gen.Select(Gen.Int[1, 40], Gen.Long[0, 1L << 40]).Sample(
            (sectors, first) =>
            {
                byte[] plain = RandomNumberGenerator.GetBytes(sectors * SectorCipher.SectorSize);
                byte[] bytes = [.. plain];
                cipher.Encrypt(first, bytes);
                byte[] alone = plain.AsSpan(^SectorCipher.SectorSize..).ToArray();
                cipher.Encrypt(first + sectors - 1, alone);
                Assert.Equal(alone, bytes.AsSpan(^SectorCipher.SectorSize..).ToArray());
                cipher.Decrypt(first, bytes);
                Assert.Equal(plain, bytes);
            },
            iter: 50,
            threads: 1);
    }

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void A_split_key_comes_back(int length)
    {
        foreach (HashAlgorithmName hash in (HashAlgorithmName[])[HashAlgorithmName.SHA1, HashAlgorithmName.SHA256, HashAlgorithmName.SHA384, HashAlgorithmName.SHA512])
        {
            byte[] key = RandomNumberGenerator.GetBytes(length);
            Assert.Equal(key, LuksKeys.Merge(LuksKeys.Split(key, 10, hash), length, hash));
        }
    }

    [Theory(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    [InlineData("cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256")]
    [InlineData("cipher-alg=aes-192,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha384")]
    [InlineData("cipher-alg=aes-128,cipher-mode=ctr,ivgen-alg=plain64,hash-alg=sha256")]
    [InlineData("cipher-alg=aes-256,cipher-mode=ctr,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha256")]
    [InlineData("cipher-alg=aes-256,cipher-mode=ecb,ivgen-alg=plain64,hash-alg=sha256")]
    [InlineData("cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain,hash-alg=sha256")]
    [InlineData("cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=md5,hash-alg=sha256")]
    [InlineData("cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha512")]
    [InlineData("cipher-alg=aes-128,cipher-mode=xts,ivgen-alg=plain,hash-alg=sha512")]
    [InlineData("cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1")]
    public void Volumes_of_qemu_img_are_read_and_written(string options)
    {
        using var directory = new TempDirectory();
        byte[] expected = RandomNumberGenerator.GetBytes(Size);
        System.IO.File.WriteAllBytes(directory["plain"], expected);
        Qemu.Img("convert", "--object", "secret,id=s,data=word", "-f", "raw", "-O", "luks", "-o", $"key-secret=s,iter-time=10,{options}", directory["plain"], directory["volume"]);
        Loop.Run(async () =>
        {
            BlockNode node = await OpenAsync(directory["volume"], "word");
            using IoBuffer data = IoBuffer.Zeroed(Size);
            await node.ReadAsync(0, data.Slice(0, Size));
            Assert.True(data.Span[..Size].SequenceEqual(expected));
            foreach ((int offset, int length) in ((int, int)[])[(0, 512), (100, 1000), (511, 2), (70_001, 600_000), (Size - 700, 700)])
            {
                data.Span[..length].Fill((byte)length);
                expected.AsSpan(offset, length).Fill((byte)length);
                await node.WriteAsync(offset, data.Slice(0, length));
            }

            await node.CloseAsync();
        });
        Qemu.Img("convert", "--object", "secret,id=s,data=word", "--image-opts", $"driver=luks,file.filename={directory["volume"]},key-secret=s", "-O", "raw", directory["back"]);
        Assert.Equal(expected, System.IO.File.ReadAllBytes(directory["back"]));

        // The other way round: ours, read by qemu-img.
        Loop.Run(async () =>
        {
            await CreateAsync(directory["ours"], "word", options);
            BlockNode node = await OpenAsync(directory["ours"], "word");
            Assert.Equal(Size, node.Length);
            using IoBuffer data = IoBuffer.Zeroed(Size);
            expected.CopyTo(data.Span);
            await node.WriteAsync(0, data.Slice(0, Size));
            await node.CloseAsync();
        });
        Qemu.Img("convert", "--object", "secret,id=s,data=word", "--image-opts", $"driver=luks,file.filename={directory["ours"]},key-secret=s", "-O", "raw", directory["back"]);
        Assert.Equal(expected, System.IO.File.ReadAllBytes(directory["back"]));
    }

    [Theory(SkipUnless = nameof(HasCryptsetup), Skip = "cryptsetup is not installed")]
    [InlineData("cipher-alg=aes-256,cipher-mode=xts")]
    [InlineData("cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,hash-alg=sha1")]
    [InlineData("cipher-alg=aes-192,cipher-mode=cbc,ivgen-alg=plain,hash-alg=sha512")]
    public void Cryptsetup_opens_our_volumes(string options)
    {
        using var directory = new TempDirectory();
        System.IO.File.WriteAllText(directory["password"], "word");
        System.IO.File.WriteAllText(directory["wrong"], "other");
        System.IO.File.WriteAllText(directory["second"], "two");
        Loop.Run(async () =>
        {
            await CreateAsync(directory["volume"], "word", options);
            var node = (LuksNode)await OpenAsync(directory["volume"], "word");
            await node.AmendAsync(Options(("state", "active"), ("new-secret", "two"), ("keyslot", "5"), ("iter-time", "10")), force: false, progress: null);
            await node.CloseAsync();
        });
        Assert.Equal(0, Cryptsetup("open", "--type", "luks1", "--test-passphrase", "--key-file", directory["password"], directory["volume"]));
        Assert.Equal(0, Cryptsetup("open", "--type", "luks1", "--test-passphrase", "--key-slot", "5", "--key-file", directory["second"], directory["volume"]));
        Assert.NotEqual(0, Cryptsetup("open", "--type", "luks1", "--test-passphrase", "--key-file", directory["wrong"], directory["volume"]));
        Assert.Equal(0, Cryptsetup("luksDump", directory["volume"]));
    }

    [Fact]
    public void Passwords_are_added_and_erased_but_not_the_last_one()
    {
        using var directory = new TempDirectory();
        string volume = directory["volume"];
        Loop.Run(() => CreateAsync(volume, "word", ""));
        Assert.Equal("", Amend(volume, "word", ("state", "active"), ("new-secret", "two")));
        Assert.Equal("", Message(volume, "two"));
        Assert.Equal("Refusing to overwrite active keyslot 0 - please erase it first", Amend(volume, "two", ("state", "active"), ("new-secret", "two"), ("keyslot", "0")));
        Assert.Equal("Given keyslot 0 doesn't contain the given old password for erase operation", Amend(volume, "two", ("state", "inactive"), ("old-secret", "two"), ("keyslot", "0")));
        Assert.Equal("", Amend(volume, "two", ("state", "inactive"), ("keyslot", "0")));
        Assert.Equal("Invalid password, cannot unlock any keyslot", Message(volume, "word"));
        Assert.StartsWith("Attempt to erase the only active keyslot 1", Amend(volume, "two", ("state", "inactive"), ("keyslot", "1")));
        Assert.StartsWith("All the active keyslots match", Amend(volume, "two", ("state", "inactive"), ("old-secret", "two")));
        Assert.StartsWith("No keyslots match", Amend(volume, "two", ("state", "inactive"), ("old-secret", "absent")));
        for (int i = 0; i < LuksHeader.SlotCount - 1; i++)
        {
            Assert.Equal("", Amend(volume, "two", ("state", "active"), ("new-secret", "s")));
        }

        Assert.Equal("Can't add a keyslot - all keyslots are in use", Amend(volume, "two", ("state", "active"), ("new-secret", "s")));
        Assert.Equal("Invalid keyslot 8 specified, must be between 0 and 7", Amend(volume, "two", ("state", "active"), ("new-secret", "s"), ("keyslot", "8")));
        Assert.Equal("Parameter 'state' is missing", Amend(volume, "two", ("new-secret", "s")));
    }

    [Fact]
    public void A_header_may_lie_in_a_file_of_its_own()
    {
        using var directory = new TempDirectory();
        System.IO.File.WriteAllBytes(directory["payload"], new byte[Size]);
        Loop.Run(async () =>
        {
            await CreateAsync(directory["header"], "word", "detached-header=on");
            var graph = new BlockGraph();
            graph.Secrets.Add(Options(("id", "s"), ("data", "word")));
            BlockNode node = await graph.OpenAsync(
                Options(("driver", "luks"), ("file.filename", directory["payload"]), ("header.filename", directory["header"]), ("key-secret", "s")), OpenFlags.ReadWrite);
            Assert.Equal(Size, node.Length);
            using IoBuffer data = IoBuffer.Zeroed(512);
            data.Span.Fill(7);
            await node.WriteAsync(Size - 512, data.Vector);
            data.Span.Clear();
            await node.ReadAsync(Size - 512, data.Vector);
            Assert.Equal(7, data.Span[511]);
            await node.CloseAsync();
        });
        Assert.Contains("overlapping with the header", Message(directory["header"], "word"));
        Assert.NotEqual(7, System.IO.File.ReadAllBytes(directory["payload"])[^1]);
    }

    [Theory]
    [InlineData("cipher-alg=serpent-256", "Algorithm 'serpent-256' not supported")]
    [InlineData("cipher-alg=foo", "Parameter 'cipher-alg' does not accept value 'foo'")]
    [InlineData("hash-alg=ripemd160", "Algorithm 'ripemd160' not supported")]
    [InlineData("ivgen-alg=essiv,ivgen-hash-alg=sha512", "No AES cipher with the key size of hash 'sha512' available")]
    [InlineData("iter-time=-1", "Parameter 'iter-time' must be between")]
    public void Wrong_creation_options_are_refused_and_leave_no_file(string options, string expected)
    {
        using var directory = new TempDirectory();
        string message = "";
        Loop.Run(async () =>
        {
            try
            {
                await CreateAsync(directory["volume"], "word", options);
            }
            catch (OptionException e)
            {
                message = e.Message;
            }
        });
        Assert.StartsWith(expected, message);
        Assert.False(System.IO.File.Exists(directory["volume"]));
    }

    [Fact(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    public void Wrong_passwords_and_damaged_headers_are_refused_by_name()
    {
        using var directory = new TempDirectory();
        Qemu.Img("create", "-q", "--object", "secret,id=s,data=word", "-f", "luks", "-o", "key-secret=s,iter-time=10", directory["good"], "64k");
        byte[] good = System.IO.File.ReadAllBytes(directory["good"]);
        Assert.Equal("Invalid password, cannot unlock any keyslot", Message(directory["good"], "other"));
        foreach ((int at, byte value, string expected) in ((int, byte, string)[])
        [
            (0, 0, "not in LUKS format"), (7, 2, "LUKS version 2"), (8, 0x58, "Algorithm 'Xes'"), (40, 0x58, "Algorithm 'Xts'"), (72, 0x58, "'Xha256'"),
            (104, 0xff, "behind the end"), (107, 0, "overlapping with the encrypted payload"), (108, 1, "key size"), (112, (byte)~good[112], "Invalid password"),
            (132, (byte)~good[132], "Invalid password"), (164, 0xff, "iteration count"), (208, 1, "Keyslot 0 state"), (212, 0xff, "Keyslot 0 iteration"),
            (216, (byte)~good[216], "Invalid password"), (251, 0, "overlapping with the LUKS header"), (254, 1, "stripes"), (5000, (byte)~good[5000], "Invalid password"),
        ])
        {
            byte[] bad = [.. good];
            bad[at] = value;
            if (at == 107)
            {
                bad[106] = 2;
            }
            else if (at == 251)
            {
                bad[250] = 0;
            }

            System.IO.File.WriteAllBytes(directory["bad"], bad);
            Assert.Contains(expected, Message(directory["bad"], "word"));
        }

        foreach (int length in (int[])[0, 100, 591, 4096, 100_000])
        {
            System.IO.File.WriteAllBytes(directory["bad"], good[..length]);
            Assert.NotEqual("", Message(directory["bad"], "word"));
        }
    }

    [Theory]
    [InlineData("id=a", "Either 'file' or 'data' must be provided")]
    [InlineData("id=a,data=x,file=y", "'file' and 'data' are mutually exclusive")]
    [InlineData("data=x", "Parameter 'id' is missing")]
    [InlineData("id=a,data=_,format=base64", "Base64 data contains invalid characters")]
    [InlineData("id=a,data=YWJj,keyid=nosuch", "No secret with id 'nosuch'")]
    [InlineData("id=a,file=/no/such/file", "Unable to read /no/such/file")]
    public void Wrong_secrets_are_refused(string options, string expected)
        => Assert.StartsWith(expected, Assert.Throws<OptionException>(() => new SecretTable().Add(KeyValueText.Parse(options))).Message);

    [Fact]
    public void A_password_is_text()
    {
        var table = new SecretTable();
        table.Add(Options(("id", "bytes"), ("data", Convert.ToBase64String([0x3a, 0xff])), ("format", "base64")));
        table.Add(Options(("id", "text"), ("data", "wörd")));
        Assert.Equal("Data from secret bytes is not valid UTF-8", Assert.Throws<OptionException>(() => table.GetPassword("bytes")).Message);
        Assert.Equal("wörd", System.Text.Encoding.UTF8.GetString(table.GetPassword("text")));
    }

    [Fact]
    public void Secrets_come_as_text_base64_and_encrypted_with_another()
    {
        var table = new SecretTable();
        byte[] key = RandomNumberGenerator.GetBytes(32);
        byte[] iv = RandomNumberGenerator.GetBytes(16);
        using var aes = Aes.Create();
        aes.Key = key;
        table.Add(Options(("id", "text"), ("data", "word")));
        table.Add(Options(("id", "key"), ("data", Convert.ToBase64String(key)), ("format", "base64")));
        table.Add(Options(("id", "hidden"), ("data", Convert.ToBase64String(aes.EncryptCbc("word"u8, iv))), ("keyid", "key"), ("iv", Convert.ToBase64String(iv))));
        Assert.True(table.Get("text").SequenceEqual("word"u8));
        Assert.True(table.Get("hidden").SequenceEqual("word"u8));
    }

    private static OptionSet Options(params (string Name, string Value)[] values)
    {
        var options = new OptionSet();
        Array.ForEach(values, v => options.Set(v.Name, v.Value));
        return options;
    }

    private static IoTask CreateAsync(string file, string password, string options)
    {
        var graph = new BlockGraph();
        graph.Secrets.Add(Options(("id", "s"), ("data", password)));
        OptionSet set = KeyValueText.Parse(options);
        set.Set("key-secret", "s");
        if (!set.Has("iter-time"))
        {
            set.Set("iter-time", "10");
        }

        return new LuksDriver().CreateAsync(new CreateRequest(graph, file, Size, set));
    }

    private static int Cryptsetup(params string[] arguments)
    {
        var start = new System.Diagnostics.ProcessStartInfo("/usr/sbin/cryptsetup", arguments) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        using System.Diagnostics.Process process = System.Diagnostics.Process.Start(start)!;
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        _ = process.StandardOutput.ReadToEnd() + errors.Result;
        process.WaitForExit();
        return process.ExitCode;
    }

    private static string Amend(string file, string password, params (string Name, string Value)[] options)
    {
        string message = "";
        Loop.Run(async () =>
        {
            var node = (LuksNode)await OpenAsync(file, password);
            try
            {
                (string, string)[] time = options[0].Value == "active" ? [("iter-time", "0")] : [];
                await node.AmendAsync(Options([.. options, .. time]), force: false, progress: null);
            }
            catch (ErrnoException e)
            {
                message = e.Message;
            }

            await node.CloseAsync();
        });
        return message;
    }

    private static IoTask<BlockNode> OpenAsync(string file, string password)
    {
        var graph = new BlockGraph();
        graph.Secrets.Add(Options(("id", "s"), ("data", password)));
        graph.Secrets.Add(Options(("id", "two"), ("data", "two")));
        graph.Secrets.Add(Options(("id", "absent"), ("data", "absent")));
        return graph.OpenAsync(Options(("driver", "luks"), ("file.filename", file), ("key-secret", "s")), OpenFlags.ReadWrite);
    }

    private static string Message(string file, string password)
    {
        string message = "";
        Loop.Run(async () =>
        {
            try
            {
                await (await OpenAsync(file, password)).CloseAsync();
            }
            catch (ErrnoException e)
            {
                message = e.Message;
            }
        });
        return message;
    }
}
