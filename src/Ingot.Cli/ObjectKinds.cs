using Ingot.Block;
using Ingot.Drivers.Crypto;
using Ingot.Drivers.Throttle;

namespace Ingot.Cli;

/// <summary>What --object can make: the kinds that every tool has, and what to say of the others.</summary>
internal static class ObjectKinds
{
    // Kinds that QEMU's block tools know and refuse, because only a virtual machine has a use for them.
    private static readonly string[] OfMachines =
    [
        "iothread", "authz-pam", "can-bus", "can-host-socketcan", "colo-compare", "cryptodev-backend", "cryptodev-backend-builtin", "cryptodev-backend-lkcf",
        "cryptodev-vhost-user", "filter-buffer", "filter-dump", "filter-mirror", "filter-redirector", "filter-replay", "filter-rewriter", "input-barrier",
        "input-linux", "memory-backend-file", "memory-backend-memfd", "memory-backend-ram", "memory-backend-shm", "qtest", "rng-builtin", "rng-egd",
        "rng-random", "sev-guest", "tls-cipher-suites",
    ];

    private static readonly string[] OfTls = ["tls-creds-anon", "tls-creds-psk", "tls-creds-x509", "authz-list", "authz-list-file", "authz-simple"];

    /// <summary>Makes an object of a kind that every tool has.</summary>
    /// <param name="kind">Its qom-type.</param>
    /// <param name="options">The other options; taken if the kind is known.</param>
    /// <param name="secrets">Where secrets go.</param>
    /// <param name="throttles">Where throttle groups go.</param>
    /// <returns>False for another kind.</returns>
    /// <exception cref="OptionException">An option is wrong.</exception>
    public static bool TryAdd(string kind, OptionSet options, SecretTable secrets, ThrottleTable throttles)
    {
        if (options.Peek("id") is { } id && !(id.Length > 0 && char.IsAsciiLetter(id[0]) && id.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_')))
        {
            throw new OptionException("Parameter 'id' expects an identifier\nIdentifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
        }

        switch (kind)
        {
            case "secret":
                secrets.Add(options);
                return true;
            case "secret_keyring":
                secrets.AddKey(options);
                return true;
            case "throttle-group":
                throttles.Add(options);
                return true;
            default:
                return false;
        }
    }

    /// <summary>Why a kind can't be made.</summary>
    /// <param name="kind">Its qom-type.</param>
    /// <param name="options">The other options.</param>
    /// <returns>The exception to throw.</returns>
    public static OptionException Refusal(string kind, OptionSet options)
    {
        bool isOfTls = OfTls.Contains(kind);
        if (!isOfTls && !OfMachines.Contains(kind))
        {
            return new OptionException($"Parameter 'qom-type' does not accept value '{kind}'");
        }

        string id = options.TakeRequired("id");
        return new OptionException(isOfTls ? $"Object '{id}' of type '{kind}' would have no use: no driver or export of this version speaks TLS" : $"invalid object type: {kind}");
    }
}
