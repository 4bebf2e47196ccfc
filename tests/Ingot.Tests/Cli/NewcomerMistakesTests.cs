using Xunit;

namespace Ingot.Tests.Cli;

/// <summary>What people get wrong at first, and whether the message says which word it was.</summary>
public sealed class NewcomerMistakesTests
{
    [Theory]
    [InlineData("--blockdev", "driver=file,node-name=x", "Parameter 'filename' is missing")]
    [InlineData("--blockdev", "driver=null-co,node-name=1x", "Invalid node-name: '1x'")]
    [InlineData("--blockdev", "{\"driver\":", "Could not parse the JSON options: invalid JSON in line 1 at byte 11")]
    [InlineData("--export", "type=vhost-user-blk,id=e,node-name=none,addr.type=unix,addr.path=s", "Cannot find device='' nor node-name='none'")]
    [InlineData("--object", "iothread", "Parameter 'id' is missing")]
    public void The_daemon_names_the_option_that_is_wrong(string option, string value, string problem)
    {
        CliResult result = CliRunner.Run("qemu-storage-daemon", "--blockdev", "driver=null-co,node-name=right", option, value);
        Assert.Equal(new CliResult(1, "", $"qemu-storage-daemon: {option} {value}: {problem}\n"), result);
    }

    [Theory]
    [InlineData("0.iothread=b", "IOThread \"b\" object does not exist")]
    [InlineData("0.vqs.0=1", "Parameter 'iothread-vq-mapping.0.iothread' is missing")]
    [InlineData("0.iothread=a,1.iothread=a", "duplicate IOThread name \"a\" in iothread-vq-mapping")]
    [InlineData("0.iothread=a,0.vqs.0=0,1.iothread=c", "either all items in iothread-vq-mapping must have vqs or none of them must have it")]
    [InlineData("0.iothread=a,0.vqs.0=2", "vq index 2 for IOThread \"a\" must be less than num_queues 2 in iothread-vq-mapping")]
    [InlineData("0.iothread=a,0.vqs.0=1,0.vqs.1=1", "cannot assign vq 1 to IOThread \"a\" because it is already assigned")]
    [InlineData("0.iothread=a,0.vqs.0=1", "missing vq 0 IOThread assignment in iothread-vq-mapping")]
    [InlineData("0.iothread=a,0.vqs.0=x", "Parameter 'vqs' of IOThread \"a\" in iothread-vq-mapping expects numbers of queues")]
    [InlineData("0=a", "Invalid parameter type for 'iothread-vq-mapping.0', expected: object")]
    public void A_mapping_of_queues_that_is_wrong_is_refused_in_the_words_of_QEMU(string mapping, string problem)
    {
        string export = "type=vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path=s,num-queues=2,"
            + string.Join(',', mapping.Split(',').Select(part => "iothread-vq-mapping." + part));
        AssertRefused(export, problem);
    }

    [Fact]
    public void A_thread_and_a_mapping_of_queues_exclude_each_other()
        => AssertRefused("type=vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path=s,iothread=a,iothread-vq-mapping.0.iothread=c",
            "iothread and iothread-vq-mapping properties cannot be set at the same time");

    [Fact]
    public void A_mapping_of_queues_may_be_JSON()
        => AssertRefused("""{"type":"vhost-user-blk","id":"e","node-name":"n","addr":{"type":"unix","path":"s"},"num-queues":2,"iothread-vq-mapping":[{"iothread":"a","vqs":[0]},{"iothread":"c","vqs":[0]}]}""",
            "cannot assign vq 0 to IOThread \"c\" because it is already assigned");

    [Fact]
    public void A_read_only_image_is_refused_before_the_first_write()
    {
        const string Image = "driver=null-co,size=1M,read-only=on";
        Assert.Equal(
            new CliResult(1, "", $"qemu-img: Could not open '{Image}': Block node is read-only\n"),
            CliRunner.Image("bench", "-w", "--image-opts", Image));
    }

    private static void AssertRefused(string export, string problem)
    {
        CliResult result = CliRunner.Run("qemu-storage-daemon", "--object", "iothread,id=a", "--object", "iothread,id=c", "--blockdev", "driver=null-co,node-name=n", "--export", export);
        Assert.Equal(new CliResult(1, "", $"qemu-storage-daemon: --export {export}: {problem}\n"), result);
    }
}
