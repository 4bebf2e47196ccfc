namespace Ingot.Cli;

/// <summary>Options that several image commands share.</summary>
internal static class CommonOptions
{
    public static Option Quiet { get; } = Option.Switch('q', "quiet", "quiet operations");

    public static Option Progress { get; } = Option.Switch('p', "progress", "show operation progress");

    public static Option Format { get; } = Option.Value('f', "format", "FMT", "specify FILENAME image format explicitly");

    public static Option ImageOpts { get; } = Option.Switch(
        '\0', "image-opts", "indicates that FILENAME is a complete image specification\ninstead of a file name (incompatible with --format)");

    public static Option ForceShare { get; } = Option.Switch('U', "force-share", "open image in shared mode for concurrent access");

    public static Option Untrusted { get; } = Option.Switch(
        '\0', "untrusted", "the image comes from a stranger: open nothing that it names,\ndo not guess its format, bound the memory it can claim");

    public static Option Cache { get; } = Option.Value('T', "cache", "CACHE_MODE", "image cache mode (writeback)");

    public static Option Output { get; } = Option.Value('\0', "output", "human|json", "specify output format name (default human)");

    public static Option Object { get; } = Option.Value('\0', "object", "OBJDEF", "an object that options name: secret,id=ID,data=TEXT or file=FILE\n[,format=base64][,keyid=ID,iv=BASE64]; secret_keyring,id=ID,serial=N;\nthrottle-group,id=ID");

    /// <summary>Whether --output asks for JSON.</summary>
    /// <param name="arguments">The command line.</param>
    /// <returns>True for json.</returns>
    public static bool IsJson(Arguments arguments) => arguments.Last("output") switch
    {
        null or "human" => false,
        "json" => true,
        var other => throw new UsageException($"--output expects 'human' or 'json' not '{other}'"),
    };
}
