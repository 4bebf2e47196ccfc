using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Linux;
using Xunit;

namespace Ingot.Tests.Drivers.Qcow2;

/// <summary>Images whose guest data lies in a file of its own, to and from QEMU.</summary>
public class DataFileTests
{
    private const int Size = 3 << 20;

    public static bool HasQemu => Qemu.IsInstalled;

    [Theory(SkipUnless = nameof(HasQemu), Skip = "qemu-img is not installed")]
    [InlineData("")]
    [InlineData(",data_file_raw=on")]
    [InlineData(",cluster_size=4k")]
    [InlineData(",extended_l2=on")]
    [InlineData(",extended_l2=on,data_file_raw=on")]
    public void Qemu_and_we_go_on_where_the_other_stopped(string options)
    {
        using var directory = new TempDirectory();
        string image = directory["a"];
        string data = directory["data"];
        byte[] expected = new byte[Size];
        Loop.Run(() => new Qcow2Driver().CreateAsync(new CreateRequest(new BlockGraph(), image, Size, KeyValueText.Parse($"data_file={data}{options}"))));
        for (int round = 0; round < 3; round++)
        {
            Qemu.Io(image, $"write -P {10 + round} {round * 300}k 100k", $"write -z {(round * 300) + 30}k 10k", $"write -z -u {(round * 300) + 64}k 64k");
            expected.AsSpan(round * 300 << 10, 100 << 10).Fill((byte)(10 + round));
            expected.AsSpan((round * 300) + 30 << 10, 10 << 10).Clear();
            expected.AsSpan((round * 300) + 64 << 10, 64 << 10).Clear();
            Loop.Run(async () =>
            {
                BlockNode node = await new BlockGraph().OpenFileAsync(image, null, OpenFlags.ReadWrite);
                Assert.Equal(expected, await Qcow2Fixture.ReadAsync(node, 0, Size));
                byte[] bytes = Qcow2Fixture.Pattern(70_000, round);
                await Qcow2Fixture.WriteAsync(node, 1_000_000 + (round * 50_000), bytes);
                bytes.CopyTo(expected, 1_000_000 + (round * 50_000));
                await node.WriteZeroesAsync(1_010_000 + (round * 50_000), 9_000);
                expected.AsSpan(1_010_000 + (round * 50_000), 9_000).Clear();
                Extent extent = await node.GetExtentAsync(1_000_000, 1);
                Assert.Equal((1_000_000L, data), (extent.HostOffset, extent.HostNode!.FileName));
                await Model.CheckAsync((Qcow2Node)node);
                await node.CloseAsync();
            });
            Qemu.Check(image);
            Assert.Equal(expected, Qemu.ReadAll(directory, image));
        }

        Assert.Equal(Size, new FileInfo(data).Length);
        if (options.Contains("raw=on"))
        {
            Assert.Equal(expected, System.IO.File.ReadAllBytes(data));
        }
    }

    [Fact]
    public void The_data_file_is_found_by_option_by_name_and_beside_the_image_and_strangers_name_none() => Loop.Run(async () =>
    {
        using var directory = new TempDirectory();
        string image = directory["a"];
        await new Qcow2Driver().CreateAsync(new CreateRequest(new BlockGraph(), image, Size, KeyValueText.Parse($"data_file={directory["data"]}")));
        BlockNode node = await new BlockGraph().OpenFileAsync(image, "qcow2", OpenFlags.ReadWrite);
        await node.ResizeAsync(2 * Size);
        await node.CloseAsync();
        Assert.Equal(2 * Size, new FileInfo(directory["data"]).Length);

        ErrnoException untrusted = await ThrowsAsync($"driver=qcow2,file.filename={image},untrusted=on");
        Assert.Contains("names the data file", untrusted.Message);
        System.IO.File.Move(directory["data"], directory["other"]);
        ErrnoException missing = await ThrowsAsync($"driver=qcow2,file.filename={image}");
        Assert.Equal(Errno.ENOENT, missing.Errno);
        node = await new BlockGraph().OpenFileAsync(image, "qcow2", OpenFlags.NoIo);
        await node.CloseAsync();
        BlockNode given = await new BlockGraph().OpenAsync(KeyValueText.Parse($"driver=qcow2,file.filename={image},data-file.filename={directory["other"]}"), OpenFlags.None);
        await given.CloseAsync();
        await new Qcow2Driver().CreateAsync(new CreateRequest(new BlockGraph(), directory["plain"], Size, new OptionSet()));
        ErrnoException useless = await ThrowsAsync($"driver=qcow2,file.filename={directory["plain"]},data-file.filename={directory["other"]}");
        Assert.Equal("'data-file' can only be set for images with an external data file", useless.Message);
    });

    private static async Ingot.Io.IoTask<ErrnoException> ThrowsAsync(string options)
    {
        try
        {
            await new BlockGraph().OpenAsync(KeyValueText.Parse(options), OpenFlags.None);
        }
        catch (ErrnoException e)
        {
            return e;
        }

        throw new Xunit.Sdk.XunitException("The image was opened.");
    }
}
