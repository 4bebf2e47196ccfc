using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>img snapshot: lists, makes, applies and deletes internal snapshots.</summary>
internal static class SnapshotCommand
{
    private static readonly string[] Operations = ["list", "apply", "create", "delete"];

    public static Command Command { get; } = new(
        "snapshot",
        "List or manipulate snapshots within image",
        ["[-f FMT | --image-opts] [-l | -a|-c|-d SNAPSHOT]", "[-U] [--object OBJDEF] FILENAME"],
        [
            CommonOptions.Quiet, CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.ForceShare, CommonOptions.Untrusted, CommonOptions.Object,
            Option.Switch('l', "list", "list snapshots in FILENAME (the default)"),
            Option.Value('c', "create", "SNAPSHOT", "create named snapshot"),
            Option.Value('a', "apply", "SNAPSHOT", "apply named snapshot to the base"),
            Option.Value('d', "delete", "SNAPSHOT", "delete named snapshot"),
        ],
        [("FILENAME", "image file name (or specification with --image-opts)")],
        RunAsync);

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        if (arguments.Options.Count(o => Operations.Contains(o.Name)) > 1)
        {
            throw new UsageException("Cannot mix '-l', '-a', '-c', '-d'");
        }

        if (arguments.Operands.Count != 1)
        {
            throw new UsageException("Expecting one image file name");
        }

        string operation = Operations.FirstOrDefault(arguments.Has) ?? "list";
        OpenFlags flags = operation == "list" ? OpenFlags.None : OpenFlags.ReadWrite;
        BlockNode node = await ImageOpener.OpenAsync(context.NewGraph(), arguments, arguments.Operands[0], flags);
        try
        {
            if (operation == "list")
            {
                InfoPrinter.PrintSnapshots(context.Out, (await node.GetInfoAsync()).Snapshots, "");
            }
            else
            {
                await ChangeAsync(node, operation, arguments.Last(operation)!);
            }
        }
        catch
        {
            await node.CloseAsync().Status();
            throw;
        }

        await node.CloseAsync();
        return 0;
    }

    private static async IoTask ChangeAsync(BlockNode node, string operation, string name)
    {
        string failure = $"Could not {operation} snapshot '{name}'";
        if (node is not Qcow2Node image)
        {
            throw operation switch
            {
                "create" => ErrnoException.For(Errno.ENOTSUP, failure),
                "apply" => new ErrnoException(Errno.ENOTSUP, $"{failure}: Block driver does not support snapshots"),
                _ => new ErrnoException(Errno.ENOENT, $"{failure}: snapshot not found"),
            };
        }

        if (operation == "delete" && !(await node.GetInfoAsync()).Snapshots.Any(s => s.Name == name))
        {
            throw new ErrnoException(Errno.ENOENT, $"{failure}: snapshot not found");
        }

        Errno status = await (operation switch
        {
            "create" => image.CreateSnapshotAsync(name, DateTimeOffset.UtcNow),
            "apply" => image.ApplySnapshotAsync(name),
            _ => image.DeleteSnapshotAsync(name),
        }).Status();
        if (status != Errno.None)
        {
            throw ErrnoException.For(status, operation == "apply" ? $"{failure}: Failed to load snapshot" : failure);
        }
    }
}
