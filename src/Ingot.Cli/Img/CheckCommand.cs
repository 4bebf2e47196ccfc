using System.Globalization;
using Ingot.Block;
using Ingot.Drivers;
using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>img check: whether the metadata of an image is consistent, and its repair.</summary>
internal static class CheckCommand
{
    private const int StatusFailed = 1;
    private const int StatusCorrupt = 2;
    private const int StatusLeaks = 3;
    private const int StatusUnsupported = 63;

    public static Command Command { get; } = new(
        "check",
        "Check basic image integrity",
        ["[-f FMT | --image-opts] [-T CACHE_MODE] [-r leaks|all] [-U]", "[--output human|json] [-q] [--object OBJDEF] FILENAME"],
        [
            CommonOptions.Quiet, CommonOptions.Format, CommonOptions.ImageOpts, CommonOptions.Untrusted, CommonOptions.Cache, CommonOptions.ForceShare, CommonOptions.Output,
            Option.Value('r', "repair", "leaks|all", "repair particular aspect of the image\n(image will be opened read-write, incompatible with --force-share)"),
            CommonOptions.Object,
        ],
        [("FILENAME", "the image file (or image specification) to operate on")],
        RunAsync);

    private static async IoTask<int> RunAsync(CommandContext context, Arguments arguments)
    {
        bool isJson = CommonOptions.IsJson(arguments);
        Qcow2Repair repair = ParseRepair(arguments.Last("repair"));
        if (arguments.Operands.Count != 1)
        {
            throw new UsageException("Expecting one image file name");
        }

        string name = arguments.Operands[0];
        OpenFlags flags = ImageOpener.CacheFlags(arguments.Last("cache"), "writeback", "source cache") | OpenFlags.Check | (arguments.Has("untrusted") ? OpenFlags.NoBacking : OpenFlags.None);
        if (repair != Qcow2Repair.None)
        {
            flags |= OpenFlags.ReadWrite;
        }

        BlockNode node = await ImageOpener.OpenAsync(context.NewGraph(), arguments, name, flags);
        try
        {
            if (node is not Qcow2Node image)
            {
                context.Report("This image format does not support checks");
                return StatusUnsupported;
            }

            return await CheckAsync(context, image, name, repair, isJson);
        }
        finally
        {
            await node.CloseAsync();
        }
    }

    private static async IoTask<int> CheckAsync(CommandContext context, Qcow2Node image, string name, Qcow2Repair repair, bool isJson)
    {
        void ReportFinding(string message)
        {
            context.FlushTerminal();
            context.Error.WriteLine(message);
        }

        Qcow2CheckResult result;
        try
        {
            result = await image.CheckAsync(repair, ReportFinding);
        }
        catch (ErrnoException e) when (e.InnerException is ErrnoException reason)
        {
            context.Report(reason.Message);
            throw;
        }

        long leaksFixed = result.LeaksFixed;
        long corruptionsFixed = result.CorruptionsFixed;
        if (leaksFixed > 0 || corruptionsFixed > 0)
        {
            if (!isJson)
            {
                context.Print($"The following inconsistencies were found and repaired:\n\n    {leaksFixed} leaked clusters\n    {corruptionsFixed} corruptions\n\nDouble checking the fixed image now...");
            }

            result = await image.CheckAsync(Qcow2Repair.None, ReportFinding);
        }

        if (!context.IsQuiet && isJson)
        {
            PrintJson(new JsonPrinter(context.Out), image, name, result, leaksFixed, corruptionsFixed);
        }
        else if (!context.IsQuiet)
        {
            PrintHuman(context.Out, result);
        }

        return result.CheckErrors > 0 ? StatusFailed : result.Corruptions > 0 ? StatusCorrupt : result.Leaks > 0 ? StatusLeaks : 0;
    }

    private static void PrintHuman(TextWriter o, Qcow2CheckResult r)
    {
        if (r.Corruptions == 0 && r.Leaks == 0 && r.CheckErrors == 0)
        {
            o.WriteLine("No errors were found on the image.");
        }

        WriteIf(o, r.Corruptions, $"\n{r.Corruptions} errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.");
        WriteIf(o, r.Leaks, $"\n{r.Leaks} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.");
        WriteIf(o, r.CheckErrors, $"\n{r.CheckErrors} internal errors have occurred during the check.");
        if (r.TotalClusters > 0 && r.AllocatedClusters > 0)
        {
            double allocated = r.AllocatedClusters;
            o.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{r.AllocatedClusters}/{r.TotalClusters} = {allocated * 100 / r.TotalClusters:F2}% allocated, {r.FragmentedClusters * 100 / allocated:F2}% fragmented, {r.CompressedClusters * 100 / allocated:F2}% compressed clusters"));
        }

        WriteIf(o, r.ImageEndOffset, $"Image end offset: {r.ImageEndOffset}");
    }

    private static void PrintJson(JsonPrinter json, Qcow2Node image, string name, Qcow2CheckResult r, long leaksFixed, long corruptionsFixed)
    {
        void Optional(string key, long value)
        {
            if (value != 0)
            {
                json.Member(key, value);
            }
        }

        json.BeginObject();
        Optional("image-end-offset", r.ImageEndOffset);
        Optional("compressed-clusters", r.CompressedClusters);
        Optional("total-clusters", r.TotalClusters);
        Optional("corruptions", r.Corruptions);
        Optional("corruptions-fixed", corruptionsFixed);
        json.Member("check-errors", r.CheckErrors);
        Optional("leaks", r.Leaks);
        Optional("leaks-fixed", leaksFixed);
        Optional("allocated-clusters", r.AllocatedClusters);
        json.Member("filename", name);
        json.Member("format", image.DriverName);
        Optional("fragmented-clusters", r.FragmentedClusters);
        json.EndObject();
    }

    private static void WriteIf(TextWriter o, long count, string text)
    {
        if (count > 0)
        {
            o.WriteLine(text);
        }
    }

    private static Qcow2Repair ParseRepair(string? text) => text switch
    {
        null => Qcow2Repair.None,
        "leaks" => Qcow2Repair.Leaks,
        "all" => Qcow2Repair.All,
        _ => throw new UsageException($"--repair (-r) expects 'leaks' or 'all' not '{text}'"),
    };
}
